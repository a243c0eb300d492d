"""Groups of LoRA matrices, their norms and the sparse term over them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from knowswap_mm.checks import check_patterns
from knowswap_mm.compat import children_of, norms_of
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.injector import lora_layers

GROUP_BY = ('block', 'lora', 'matrix')


class LoRAGroups:
    """Groups of LoRA matrices, found by walking the model.

    ``block`` puts all matrices of one transformer block together (the paper's groups: A and B of
    both FFN layers), ``lora`` those of one linear layer, ``matrix`` each on its own. The block
    of a layer is its nearest ancestor that is an element of a ``ModuleList``, which is how most
    OpenMMLab transformers hold their layers, or of a ``Sequential``, if several linear layers with
    adapters lie in it (ConvNeXt, PoolFormer).

    Args:
        model (nn.Module): A model with adapters.
        by (str): ``block``, ``lora`` or ``matrix``.
        exclude (Sequence[str]): Regular expressions; a layer whose name one of them matches
            somewhere is in no group (``['decoder']`` leaves a detector's decoder out).
        adapter (str | None): The adapter whose matrices are grouped; None takes those that can
            train, so that frozen adapters of earlier swaps are in no group.

    Attributes:
        names (list[str]): Names of the groups.
        parameters (list[nn.Parameter]): All matrices in groups: A ``(rank, in)`` and B
            ``(out, rank)`` of a layer after one another.
        membership (list[int]): Group of each matrix.

    Raises:
        ConfigError: If ``by`` is unknown, or no matrix is left.
    """

    def __init__(
        self,
        model: nn.Module,
        by: str = 'block',
        exclude: Sequence[str] = (),
        adapter: str | None = None,
    ) -> None:
        if by not in GROUP_BY:
            raise ConfigError('model.loss.group_by', by, 'unknown grouping', f'use {GROUP_BY}')
        check_patterns('model.loss.group_exclude', exclude)
        elements = list_elements(model)
        self.names: list[str] = []
        self.parameters: list[nn.Parameter] = []
        self.membership: list[int] = []
        position: dict[str, int] = {}
        for layer_name, layer in lora_layers(model):
            if any(re.search(pattern, layer_name) for pattern in exclude):
                continue
            for part in ('lora_A', 'lora_B'):
                for name, linear in getattr(layer, part).items():
                    if name != adapter if adapter else not linear.weight.requires_grad:
                        continue
                    group = {
                        'block': block_of(layer_name, elements),
                        'lora': layer_name,
                        'matrix': f'{layer_name}.{part}.{name}',
                    }[by]
                    if group not in position:
                        position[group] = len(self.names)
                        self.names.append(group)
                    self.parameters.append(linear.weight)
                    self.membership.append(position[group])
        if not self.names:
            fix = 'inject adapters first, or exclude fewer of them'
            raise ConfigError('model.loss.group_exclude', list(exclude), 'no group is left', fix)

    def __len__(self) -> int:
        return len(self.names)


def list_elements(model: nn.Module) -> set[str]:
    """Names of what can be a block: elements of lists, of which a layer alone is none."""
    layers = Counter(
        '.'.join(parts[:length])
        for parts in (name.split('.') for name, _ in lora_layers(model))
        for length in range(1, len(parts))
    )
    elements = set()
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            names = [f'{name}.{child}' if name else child for child in children_of(module)]
            several = isinstance(module, nn.Sequential)
            elements.update(each for each in names if not several or layers[each] > 1)
    return elements


def block_of(name: str, elements: set[str]) -> str:
    """The one of :func:`list_elements` in which a layer lies, or else the module that holds it."""
    block = name
    while block and block not in elements:
        block = block.rpartition('.')[0]
    return block or name.rpartition('.')[0] or name


class GroupNorms(torch.autograd.Function):
    r"""Computes :math:`n_g = \sqrt{\sum_{P \in g} \lVert P \rVert_F^2 + \epsilon}` of many groups.

    Both passes launch a handful of kernels, whatever the number of matrices: autograd's own
    backward pass of a norm launches four for each. The gradient of a matrix is
    :math:`P / n_g`, zero for a group of zeros.
    """

    @staticmethod
    def forward(
        ctx: Any, membership: Tensor, owners: Tensor, epsilon: float, *matrices: Tensor
    ) -> Tensor:
        """Compute the norms.

        Args:
            ctx: Of autograd.
            membership (Tensor): 1 where a matrix is in a group, ``(groups, matrices)``.
            owners (Tensor): The number of the matrix of each element, ``(elements,)``.
            epsilon (float): Keeps the division by a norm of zero away.
            *matrices (Tensor): The matrices, ``(rank, in)`` and ``(out, rank)``.

        Returns:
            Tensor: Norms, ``(groups,)``, in fp32.
        """
        squares = torch.stack(norms_of(matrices)).float().square()
        norms = (membership @ squares + epsilon).sqrt()
        ctx.save_for_backward(membership, owners, norms, *matrices)
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the matrices; they are parts of one tensor."""
        membership, owners, norms, *matrices = ctx.saved_tensors
        factors = (gradient / norms) @ membership
        flat = torch.cat([matrix.flatten() for matrix in matrices])
        # Taken by index: torch's repetition waits for the device to look at the counts.
        flat.mul_(factors.index_select(0, owners))
        parts = zip(flat.split([matrix.numel() for matrix in matrices]), matrices, strict=True)
        gradients = [part.view_as(matrix).to(matrix.dtype) for part, matrix in parts]
        return None, None, None, *gradients


class GroupSparsity(nn.Module):
    r"""Group lasso :math:`S = \sum_g \sqrt{\sum_{P \in g} \lVert P \rVert_F^2}`.

    All norms come from :class:`GroupNorms`, whose cost does not grow with the number of groups. The
    gradient of a group of zeros is zero instead of NaN.

    Args:
        groups (LoRAGroups): The groups.
    """

    #: Far below the smallest norm that matters (its root is 1e-12), it only keeps 0 / 0 away.
    EPSILON = 1e-24

    def __init__(self, groups: LoRAGroups) -> None:
        super().__init__()
        self.groups = groups
        matrix = _membership(groups.membership, len(groups))
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
        """The term S, a scalar."""
        return self.group_norms().sum()


class BlockNorms:
    """Frobenius norms by transformer block; all results stay on the device.

    Args:
        model (nn.Module): A model with adapters.
        adapter (str): The adapter that trains.

    Attributes:
        names (list[str]): The blocks, in the order of the modules: as a rule from the input to the
            output.
    """

    def __init__(self, model: nn.Module, adapter: str) -> None:
        groups = LoRAGroups(model, adapter=adapter)
        layers = dict(lora_layers(model))
        self.names = groups.names
        self._parameters = groups.parameters
        self._layers = [
            layers[name] for name in LoRAGroups(model, by='lora', adapter=adapter).names
        ]
        self._adapter = adapter
        self._nothing = torch.zeros((), device=self.device)
        # A and B of a layer follow each other in the groups.
        self._of_parameters = _membership(groups.membership, len(groups)).to(self.device)
        self._of_layers = _membership(groups.membership[::2], len(groups)).to(self.device)

    @property
    def device(self) -> torch.device:
        """Device of the adapter."""
        return self._parameters[0].device

    @torch.no_grad()
    def gradients(self) -> Tensor:
        """Norm of the gradient of all LoRA matrices of a block, ``(blocks,)``; 0 without one."""
        norms = [self._nothing] * len(self._parameters)
        found = [(i, p.grad) for i, p in enumerate(self._parameters) if p.grad is not None]
        if found:  # an expand phase has none
            positions, gradients = zip(*found, strict=True)
            for position, norm in zip(positions, norms_of(gradients), strict=True):
                norms[position] = norm.float()
        return (self._of_parameters @ torch.stack(norms).square()).sqrt()

    @torch.no_grad()
    def matrices(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of A ``(rank, in)`` and B ``(out, rank)`` of each layer."""
        return [(a.clone(), b.clone()) for a, b in self._pairs()]

    @torch.no_grad()
    def updates(self, since: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Norm of what the adapter adds to the weights of a block, ``(blocks,)``.

        Args:
            since (list | None): What :meth:`matrices` gave earlier: the norm of the change since
                then.
        """
        squares = []
        for position, (layer, (a, b)) in enumerate(zip(self._layers, self._pairs(), strict=True)):
            update = b.float() @ a.float()
            if since is not None:
                old_a, old_b = (each.to(update) for each in since[position])
                update = update - old_b @ old_a
            squares.append((layer.scaling[self._adapter] * update).square().sum())
        return (self._of_layers @ torch.stack(squares)).sqrt()

    @torch.no_grad()
    def weights(self) -> Tensor:
        """Norm of the frozen weights that the adapter adds to, ``(blocks,)``."""
        squares = [layer.get_base_layer().weight.float().square().sum() for layer in self._layers]
        return (self._of_layers @ torch.stack(squares)).sqrt()

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        name = self._adapter
        return [(each.lora_A[name].weight, each.lora_B[name].weight) for each in self._layers]


def _membership(groups: list[int], count: int) -> Tensor:
    """1 where a matrix is in a group, ``(groups, matrices)``."""
    matrix = torch.zeros(count, len(groups))
    matrix[groups, torch.arange(len(groups))] = 1
    return matrix
