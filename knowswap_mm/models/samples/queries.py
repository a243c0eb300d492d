"""Samples of detection and mask transformers: pairs of a ground-truth object and its query."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from knowswap_mm.models.class_rows import ClassRows
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
#: Queries that overlap a thing by this share of the best overlap count as well as the best one.
ALMOST = 0.8
#: Least area of a union of boxes, in shares of the image's: what has no size overlaps nothing.
EPS = 1e-9


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
            both = torch.cat([hidden, logits], dim=-1)[:, first:]
            means = queries_at(overlaps, both)[image, query]
            features, means = means.split([hidden.shape[-1], logits.shape[-1]], dim=-1)
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


def queries_at(overlaps: Tensor, queries: Tensor) -> Tensor:
    """Embeddings of the queries that lie where the things are, whatever classes they answer.

    Several queries often lie on one thing almost equally well, and which of them is the best by a
    hair is chance: their mean is read. A thing that no query overlaps well is read from the one
    that overlaps it most, a thing that none overlaps from the mean of all.

    Args:
        overlaps (Tensor): From 0 to 1, ``(..., things, queries)``.
        queries (Tensor): ``(..., queries, channels)``.

    Returns:
        Tensor: ``(..., things, channels)``.
    """
    near = (overlaps >= ALMOST * overlaps.amax(dim=-1, keepdim=True)).to(queries)
    return near @ queries / near.sum(dim=-1, keepdim=True)


def dice(masks: Tensor, others: Tensor) -> Tensor:
    """Overlap of masks with values from 0 to 1; 0 where both are empty.

    Args:
        masks (Tensor): ``(..., N, H, W)``.
        others (Tensor): ``(..., M, H, W)``.

    Returns:
        Tensor: ``(..., N, M)``.
    """
    masks, others = masks.flatten(-2), others.flatten(-2)
    sizes = masks.sum(-1).unsqueeze(-1) + others.sum(-1).unsqueeze(-2)
    return 2 * masks @ others.transpose(-1, -2) / sizes.clamp(min=torch.finfo(sizes.dtype).tiny)


def overlaps_among(answers: Tensor) -> Tensor:
    """How much the queries of an image lie where others do.

    Args:
        answers (Tensor): Boxes with centre, width and height, ``(N, queries, 4)``, or logits of
            masks, ``(N, queries, H, W)``.

    Returns:
        Tensor: Intersection over union, or dice of what is inside of masks, float32, ``(N, queries,
        queries)``; 1 with itself, even of a query that lies nowhere.
    """
    # The hosts' own makes a tensor of a constant, and waits for the device to have it.
    from knowswap_mm.acceleration.matching.box_losses import box_overlap, to_corners

    with torch.autocast(answers.device.type, enabled=False):
        if answers.ndim == 3:
            corners = to_corners(answers.float())
            overlaps = box_overlap(corners.unsqueeze(2), corners.unsqueeze(1), EPS, 'iou')
        else:
            inside = (answers > 0).float()
            overlaps = dice(inside, inside)
    overlaps.diagonal(dim1=1, dim2=2).fill_(1.0)
    return overlaps
