"""Samples of detection and mask transformers: pairs of a ground-truth object and its query."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.samples.places import overlaps_among, queries_at
from knowswap_mm.models.samples.reader import (
    Calls,
    SampleLosses,
    SampleReader,
    class_layers,
    columns_of,
    kinds_of,
    nats_of,
    predicts_by_sigmoid,
    unreadable,
)
from knowswap_mm.registry import SAMPLE_READERS

#: Probability that a sigmoid gives to each class before it has seen anything (Lin et al., "Focal
#: Loss for Dense Object Detection", 2017, section 4.1). Boxes are ranked by it, and the best of an
#: image are answers: a class that is less likely than by a guess among K may still be one.
NOTHING = 0.01


class Pairs(NamedTuple):
    """Matched queries of a decoder layer.

    Attributes:
        queries (Tensor): Their numbers through all images, image after image, ``(pairs,)``.
        labels (Tensor): Classes of their objects, ``(pairs,)``.
        count (int): Queries of an image, without those of denoising.
    """

    queries: Tensor
    labels: Tensor
    count: int


@SAMPLE_READERS.register_module()
class QueryReader(SampleReader):
    """Reads mmdet's DETR and its relatives, and the mask transformers of mmdet and mmseg.

    What class layers see and say is kept while the head is called, so that the proposals of an
    encoder, which are classified before, are left out. Who is matched to whom is told by an
    accelerated head itself. Of the others it is read from the labels that the class loss gets: its
    first calls are those of the decoder layers, in order. Those of the encoder and of denoising
    follow, and are no samples; denoising queries stand before the others. Layers are numbered from
    0; a Mask2Former's first predictions are made before any layer, and then 0 is theirs.

    Several queries often lie on one object, and which of them is matched is chance. A pair's nats
    are those of the matched query, which is all that the host's loss sees; its features and logits
    are the mean over the queries whose last boxes or masks lie where the matched one has them, see
    :func:`queries_at`. An objective that empties features would otherwise leave the class in the
    others (issue 27).
    """

    def __init__(self, head: str, layers: Sequence[str], sigmoid: bool, columns: int) -> None:
        super().__init__(columns)
        self.head, self.layers, self.sigmoid = head, tuple(layers), sigmoid
        if sigmoid:
            self.silence = max(self.chance, -math.log(NOTHING))

    @classmethod
    def of(cls, host: nn.Module, rows: ClassRows) -> QueryReader | None:
        """Looks for a head like DETR's or MaskFormer's with linear class layers."""
        for part in ('bbox_head', 'panoptic_head', 'decode_head'):
            head = getattr(host, part, None)
            kinds = kinds_of(head)
            if not kinds & {'DETRHead', 'MaskFormerHead'} or 'DDQDETRHead' in kinds:
                continue  # DDQ has a second head's queries among its own
            sigmoid = predicts_by_sigmoid(getattr(head, 'loss_cls', None))
            layers = class_layers(host, rows, part, nn.Linear)
            if sigmoid is not None and layers:
                return cls(part, layers, sigmoid, columns_of(host, layers[0]))
        return None

    @contextmanager
    def listen(self, host: nn.Module) -> Iterator[Callable[[], SampleLosses]]:
        """Keep what the head's class layers see and say, and who is matched."""
        head = host.get_submodule(self.head)
        told: list[Pairs] = []
        accelerated = hasattr(head, 'tell_pairs')

        def tell_pairs(queries: Tensor, chosen: Tensor, labels: Tensor, count: int) -> None:
            told.extend(Pairs(*p, count) for p in zip(queries, labels[chosen], strict=True))

        with (
            Calls([host.get_submodule(name) for name in self.layers]) as layers,
            Calls([head.loss_cls]) as losses,
            Calls([head]) as heads,
        ):
            # The encoder's proposals are classified before the head is called.
            handle = head.register_forward_pre_hook(lambda *_: layers.clear())
            if accelerated:
                head.tell_pairs = tell_pairs
            try:
                yield lambda: self._read(host, layers, losses, heads, told)
            finally:
                handle.remove()
                if accelerated:
                    del head.tell_pairs

    def _read(
        self, host: nn.Module, layers: Calls, losses: Calls, heads: Calls, told: list[Pairs]
    ) -> SampleLosses:
        inputs = [args[0] for args, _, _ in layers.made]
        seen = _by_layer(inputs)
        said = _by_layer([output for _, _, output in layers.made])
        classes = host.get_submodule(self.head).num_classes
        pairs = told or [_pairs(args[1], len(seen[0]), classes) for args, _, _ in losses.made]
        if not 0 < len(seen) <= len(pairs):
            problem = f'its class loss is called {len(pairs)} times for {len(seen)} layers'
            raise unreadable(host, problem)
        (_, answers, *_) = heads.made[0][2]  # boxes or masks, by layer
        first = seen[0].shape[1] - pairs[0].count  # denoising queries stand before the others
        with torch.no_grad():
            overlaps = overlaps_among(answers[-1][:, first:])
        found = []
        for number, (hidden, logits, pair) in enumerate(zip(seen, said, pairs, strict=False)):
            image = pair.queries // pair.count
            order = (image * classes + pair.labels).argsort(stable=True)
            image, labels = image[order], pair.labels[order]
            query = pair.queries[order] % pair.count
            nats = nats_of(logits[image, first + query], labels, self.sigmoid)
            layer = torch.full_like(image, number)
            features, means = (
                queries_at(overlaps, each[:, first:])[image, query] for each in (hidden, logits)
            )
            found.append((nats, image, labels, layer, features, means))
        return SampleLosses(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _pairs(target: Tensor | tuple[Tensor, ...], images: int, classes: int) -> Pairs:
    """Who is matched, from what the class loss of one layer is to find.

    Args:
        target (Tensor | tuple): Labels of all queries, ``(N * queries,)``, ``classes`` and more
            where there is no object; with qualities beside them for a quality focal loss.
        images (int): ``N``.
        classes (int): Number of classes.
    """
    labels = (target[0] if isinstance(target, tuple) else target).long()
    queries = ((labels >= 0) & (labels < classes)).nonzero().flatten()
    return Pairs(queries, labels[queries], len(labels) // images)


def _by_layer(values: Sequence[Tensor]) -> list[Tensor]:
    """Values of each layer, ``(N, queries, D)``, of calls for one layer or for all at once."""
    return [part for value in values for part in (value if value.ndim == 4 else (value,))]
