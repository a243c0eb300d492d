"""mmdet's generator of denoising queries without a wait for the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.models.layers import CdnQueryGenerator
from torch import Tensor

from knowswap_mm.acceleration.matching.device_numbers import send


class BatchedCdnQueryGenerator(CdnQueryGenerator):
    """``CdnQueryGenerator`` for all pictures and groups at once.

    The host asks the device how many objects each picture has, though it knows, and which labels
    are to be noisy. The random numbers are drawn in the host's order and shapes. On a GPU one draw
    differs in its shape: new labels are drawn for all queries, of which the first ones are used;
    there a draw's numbers do not depend on how many are drawn, so that these are the host's (but
    if no label at all is to be noisy, when the host draws none).

    It has no state of its own: a ``CdnQueryGenerator`` becomes one by a change of its class.
    """

    def __call__(self, batch_data_samples: list[Any]) -> tuple[Tensor, Tensor, Tensor, dict]:
        """Make the denoising queries of a batch.

        Args:
            batch_data_samples (list[DetDataSample]): Pictures with their objects.

        Returns:
            tuple: Contents of the queries ``(N, queries, dims)``, their boxes before the sigmoid
            ``(N, queries, 4)``, who may not attend to whom ``(all queries, all queries)``, and the
            numbers of queries and groups.
        """
        instances = [sample.gt_instances for sample in batch_data_samples]
        counts = [len(each.bboxes) for each in instances]
        most, pictures = max(counts), len(counts)
        groups = self.get_num_groups(most)
        queries = 2 * most * groups
        labels = torch.cat([each.labels for each in instances])
        boxes = torch.cat([each.bboxes for each in instances])
        shapes = np.array([sample.img_shape for sample in batch_data_samples], dtype=np.int64)
        numbers = np.repeat(np.arange(pictures), counts)
        slots = numbers * queries + np.concatenate([np.arange(count) for count in counts])
        sizes, picture, slots = send([shapes[:, [1, 0, 1, 0]], numbers, slots], boxes.device)

        contents = self.generate_dn_label_query(labels, groups)
        noisy = self.generate_dn_bbox_query(boxes / sizes.to(boxes.dtype)[picture], groups)
        rounds = torch.arange(2 * groups, device=boxes.device)
        places = (slots + most * rounds[:, None]).flatten()
        contents, noisy = (
            part.new_zeros(pictures * queries, part.shape[1])
            .index_copy(0, places, part)
            .view(pictures, queries, part.shape[1])
            for part in (contents, noisy)
        )
        mask = self.generate_dn_mask(most, groups, device=boxes.device)
        meta = dict(num_denoising_queries=queries, num_denoising_groups=groups)
        return contents, noisy, mask, meta

    def generate_dn_label_query(self, gt_labels: Tensor, num_groups: int) -> Tensor:
        """Embed the labels, some of which are replaced by random ones.

        Args:
            gt_labels (Tensor): Labels of all objects, ``(objects,)``.
            num_groups (int): Number of groups.

        Returns:
            Tensor: ``(2 * groups * objects, dims)``.
        """
        if not gt_labels.is_cuda:
            return super().generate_dn_label_query(gt_labels, num_groups)
        labels = gt_labels.repeat(2 * num_groups)
        replaced = torch.rand(labels.shape, device=labels.device) < self.label_noise_scale * 0.5
        drawn = torch.randint_like(labels, 0, self.num_classes)
        return self.label_embedding(replace_labels(labels, replaced, drawn))

    def generate_dn_mask(
        self, max_num_target: int, num_groups: int, device: torch.device | str
    ) -> Tensor:
        """Keep groups from seeing one another, and all others from seeing groups.

        Args:
            max_num_target (int): Objects of the fullest picture.
            num_groups (int): Number of groups.
            device (torch.device | str): Where the mask shall be.

        Returns:
            Tensor: True where the query of a row may not see that of a column, bool.
        """
        size = 2 * max_num_target
        noisy = size * num_groups
        query = torch.arange(noisy + self.num_matching_queries, device=device)
        # All matching queries are one group.
        group = (query // max(size, 1)).clamp(max=num_groups)
        return (group[:, None] != group) & (query < noisy)


def replace_labels(labels: Tensor, replaced: Tensor, drawn: Tensor) -> Tensor:
    """Put the n-th drawn label where the n-th label is to be replaced.

    Args:
        labels (Tensor): Labels.
        replaced (Tensor): Which are to be replaced, bool.
        drawn (Tensor): As many labels.

    Returns:
        Tensor: New labels.
    """
    rank = (replaced.cumsum(0) - 1).clamp(min=0)
    return torch.where(replaced, drawn[rank], labels)
