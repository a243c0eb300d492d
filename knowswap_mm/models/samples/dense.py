"""Samples of a dense segmentor: the regions of classes in images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.samples.reader import (
    OneCallReader,
    SampleLosses,
    class_layers,
    columns_of,
    nats_of,
    predicts_by_sigmoid,
)
from knowswap_mm.registry import SAMPLE_READERS


@SAMPLE_READERS.register_module()
class DenseReader(OneCallReader):
    """Reads mmseg's ``EncoderDecoder`` with a decode head that classifies pixels, e.g. UPerNet.

    Of several losses the first cross entropy counts, of a cascade the last head; auxiliary heads
    never do.
    """

    def __init__(self, loss: str, layer: str, sigmoid: bool, ignored: int, columns: int) -> None:
        super().__init__(loss, layer, sigmoid, columns)
        self.ignored = ignored

    @classmethod
    def of(cls, host: nn.Module, rows: ClassRows) -> DenseReader | None:
        """Looks for ``decode_head.loss_decode`` and one convolution with a row a class."""
        part, head = 'decode_head', getattr(host, 'decode_head', None)
        if isinstance(head, nn.ModuleList):
            part, head = f'{part}.{len(head) - 1}', head[-1]
        losses = getattr(head, 'loss_decode', None)
        if not isinstance(losses, nn.Module):
            return None
        named = {'': losses}
        if isinstance(losses, nn.ModuleList):
            named = {f'.{number}': loss for number, loss in enumerate(losses)}
        layers = class_layers(host, rows, part, nn.Conv2d)
        for suffix, loss in named.items():
            sigmoid = predicts_by_sigmoid(loss)
            if sigmoid is not None and len(layers) == 1:
                columns = columns_of(host, layers[0])
                name = f'{part}.loss_decode{suffix}'
                return cls(name, layers[0], sigmoid, head.ignore_index, columns)
        return None

    def samples_of(
        self, logits: Tensor, target: Tensor, seen: Tensor, said: Tensor
    ) -> SampleLosses:
        """Of regions: logits ``(N, K, H, W)``, maps, input and output of the class layer."""
        maps = target.long()
        labelled = maps != self.ignored
        maps = maps.where(labelled, 0)
        nats = nats_of(logits, maps, self.sigmoid)
        images, classes = logits.shape[:2]
        number = torch.arange(images, device=maps.device)[:, None, None]
        # Pixels without a label are counted in one more place, which nobody reads.
        region = (number * classes + maps).where(labelled, images * classes).flatten()
        counts = _sums(region, torch.ones_like(nats), images * classes)
        sums = _sums(region, nats, images * classes)
        present = (counts > 0).view(images, classes)
        image, label = present.nonzero().unbind(1)
        features, means = _means((seen, said), maps, labelled, present)
        return SampleLosses(
            nats=(sums / counts.clamp(min=1)).view(images, classes)[image, label],
            images=image,
            labels=label,
            layers=torch.zeros_like(label),
            features=features,
            logits=means,
        )


def _means(
    values: Sequence[Tensor], maps: Tensor, labelled: Tensor, present: Tensor
) -> list[Tensor]:
    """Means of what the class layer saw and said over the regions of classes, at its resolution.

    Each labelled pixel counts for the cell in which its centre lies, so that no region is lost.

    Args:
        values (Sequence[Tensor]): Of one resolution, ``(N, D, h, w)`` each.
        maps (Tensor): Classes of pixels, ``(N, H, W)``.
        labelled (Tensor): Which of them count, bool, ``(N, H, W)``.
        present (Tensor): Which images have pixels of which class, bool, ``(N, K)``.

    Returns:
        list[Tensor]: ``(regions, D)`` of each, float32, by image and class.
    """
    (images, _, rows, columns), (height, width) = values[0].shape, maps.shape[1:]
    row = (2 * torch.arange(height, device=maps.device) + 1) * rows // (2 * height)
    column = (2 * torch.arange(width, device=maps.device) + 1) * columns // (2 * width)
    cell = row[:, None] * columns + column
    # Only classes that are there have a place: an image shows few of many.
    places, cells = int(present.sum(1).max()), rows * columns
    place = (present.cumsum(1) - 1).clamp(min=0)
    number = torch.arange(images, device=maps.device)[:, None, None]
    index = (number * places + place[number, maps]) * cells + cell
    end = images * places * cells
    shares = _sums(index.where(labelled, end).flatten(), torch.ones_like(maps.float()), end)
    shares = shares.view(images, places, cells)
    shares = shares / shares.sum(2, keepdim=True).clamp(min=1)
    with torch.autocast(maps.device.type, enabled=False):
        means = [shares @ value.float().flatten(2).transpose(1, 2) for value in values]
    image, label = present.nonzero().unbind(1)
    return [mean[image, place[image, label]] for mean in means]


def _sums(places: Tensor, values: Tensor, count: int) -> Tensor:
    """Sum values by place, of which the one at the end is left out: ``(count,)``."""
    return values.new_zeros(count + 1).index_add(0, places, values.flatten())[:count]
