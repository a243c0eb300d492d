"""The group-sparse term over LoRA groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowswap_mm.lora.group_norms import GroupNorms
from knowswap_mm.lora.lora_groups import LoRAGroups


class GroupSparsity(nn.Module):
    r"""Group lasso :math:`S = \sum_g \sqrt{\sum_{P \in g} \lVert P \rVert_F^2}`.

    All norms come from :class:`GroupNorms`, to which the number of groups is nothing. At an exactly
    zero group the gradient is zero instead of not-a-number.

    Args:
        groups (LoRAGroups): The groups.
    """

    #: Far below the smallest norm that matters (its root is 1e-12), it only keeps 0 / 0 away.
    EPSILON = 1e-24

    def __init__(self, groups: LoRAGroups) -> None:
        super().__init__()
        self.groups = groups
        matrix = torch.zeros(len(groups), len(groups.parameters))
        matrix[groups.membership, torch.arange(len(groups.parameters))] = 1
        self.register_buffer('membership', matrix, persistent=False)
        sizes = torch.tensor([parameter.numel() for parameter in groups.parameters])
        owners = torch.arange(len(sizes), dtype=torch.int32).repeat_interleave(sizes)
        self.register_buffer('owners', owners, persistent=False)

    def group_norms(self) -> Tensor:
        """Norm of each group, shape ``(groups,)``, in fp32."""
        parameters = self.groups.parameters
        with torch.autocast(parameters[0].device.type, enabled=False):
            return GroupNorms.apply(self.membership, self.owners, self.EPSILON, *parameters)

    def forward(self) -> Tensor:
        """The scalar term S."""
        return self.group_norms().sum()
