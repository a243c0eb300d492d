"""Features of images after blocks of a classifier, for objectives that look beneath the last layer.

A classifier's samples have one feature each, what the class layer saw; those of detection and mask
transformers have one for each decoder layer anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from knowswap_mm.lora.groups import block_of, list_elements
from knowswap_mm.lora.injector import lora_layers
from knowswap_mm.models.samples.reader import Calls, SampleLosses


class Depth:
    """The blocks of a backbone whose outputs are read; names and no tensors, as readers have.

    Args:
        blocks (dict[str, bool]): By full name, whether the class token is read (else the mean over
            all tokens or places), in the order of the network.
    """

    def __init__(self, blocks: dict[str, bool]) -> None:
        self.blocks = dict(blocks)

    @classmethod
    def of(cls, host: nn.Module, count: int) -> Depth | None:
        """The last blocks with adapters, at most ``count``, of the module named ``backbone``.

        Returns:
            Depth | None: None if no block in it has an adapter.
        """
        elements = list_elements(host)
        names = [name for name, _ in lora_layers(host) if name.startswith('backbone.')]
        blocks = list(dict.fromkeys(block_of(name, elements) for name in names))
        chosen = blocks[-count:] if count else []
        return cls({name: _has_class_token(host, name) for name in chosen}) if chosen else None

    def stream(self, host: nn.Module) -> DepthStream:
        """Begin to read a batch of a host."""
        return DepthStream([host.get_submodule(name) for name in self.blocks], self.blocks.values())


class DepthStream:
    """What passes through the blocks in one batch, in the order of its images.

    All roles may pass at once, or one after the other: images are counted, not calls.

    Args:
        modules (list[nn.Module]): The blocks.
        tokens (Iterable[bool]): Whether the class token of each is read.
    """

    def __init__(self, modules: list[nn.Module], tokens: Iterable[bool]) -> None:
        self.modules, self.tokens = modules, list(tokens)
        self._waiting: list[list[Tensor]] = [[] for _ in modules]

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Keep the outputs of the blocks, with graph, while the block runs."""
        with Calls(self.modules) as calls:
            yield
        number = {id(module): place for place, module in enumerate(self.modules)}
        for module, (_, _, output) in zip(calls.callers, calls.made, strict=True):
            place = number[id(module)]
            self._waiting[place].append(pooled(output, self.tokens[place]))

    def take(self, count: int) -> tuple[Tensor, ...]:
        """Features of the next ``count`` images: ``(count, D)`` after each block."""
        taken = []
        for place, parts in enumerate(self._waiting):
            images: list[Tensor] = []
            missing = count
            while missing:
                part = parts.pop(0)
                images.append(part[:missing])
                if len(part) > missing:
                    parts.insert(0, part[missing:])
                missing -= len(images[-1])
            taken.append(images[0] if len(images) == 1 else torch.cat(images))
            self._waiting[place] = parts
        return tuple(taken)

    def add(self, found: SampleLosses, count: int) -> SampleLosses:
        """Give the samples of the next ``count`` images their features after each block."""
        return replace(found, depth=tuple(part[found.images] for part in self.take(count)))


def pooled(output: Tensor, token: bool) -> Tensor:
    """One vector an image.

    Args:
        output (Tensor): Of a block: ``(N, tokens, D)``, or a map ``(N, D, H, W)``.
        token (bool): Whether its first token is taken; the mean over all otherwise.

    Returns:
        Tensor: ``(N, D)``, in the type of the output.
    """
    if output.ndim == 4:
        return output.mean((2, 3))
    return output[:, 0] if token else output.mean(1)


def _has_class_token(host: nn.Module, block: str) -> bool:
    owner = block.rpartition('.')[0].rpartition('.')[0]
    backbone = host.get_submodule(owner)
    named = getattr(backbone, 'cls_token', None) is not None
    return named and getattr(backbone, 'out_type', 'cls_token') == 'cls_token'
