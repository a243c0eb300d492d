"""Two swaps on one tiny base, as the tests of stacks need them."""

import torch

from knowswap_mm.lora import AdapterFile
from tests.helpers.tiny_hosts import OLD, build_host, new_swapper, vit_host

FIRST, SECOND = 7, 9  # classes after the first swap and after the second
TARGETS = dict(rank=2, alpha=4, targets=r'.*layers\.1\.ffn\.layers\.(0\.0|1)')


def base(seed=0):
    """The weights of the host before any swap."""
    return build_host(vit_host(OLD), seed).state_dict()


@torch.no_grad()
def train(swapper, seed):
    """Give the adapter and the trainable rows other values, as a swap would."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in swapper.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return swapper.eval()


def first_swap(seed=1, policy='all', weights=None, **settings):
    """A swapper at the end of the first swap."""
    head = dict(old_classes=OLD, policy=policy, new_rows_init='xavier')
    swapper = new_swapper(vit_host(FIRST), seed, **(dict(head=head) | settings))
    swapper.load_state_dict(base() if weights is None else weights)
    return train(swapper, seed)


def second_swapper(adapters, seed=2, policy='all', weights=None, **settings):
    """A swapper at the start of the second swap; other rank, other targets."""
    head = dict(policy=policy, new_rows_init='xavier')
    settings = dict(host=vit_host(SECOND), head=head, lora=TARGETS) | settings
    swapper = new_swapper(seed=seed, adapters=adapters, **settings)
    swapper.load_state_dict(base() if weights is None else weights)
    return swapper.eval()


def two_swaps(folder, policy='all'):
    """The ends of the first and of the second swap, saved as ``swap1`` and ``swap2``."""
    first = first_swap()
    AdapterFile(folder / 'swap1').save(first)
    second = train(second_swapper([folder / 'swap1'], policy=policy), 3)
    AdapterFile(folder / 'swap2').save(second)
    return first, second
