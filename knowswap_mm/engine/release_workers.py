"""The end of data-loader workers."""

from __future__ import annotations

from typing import Any

_LOOPS = ('_train_loop', '_val_loop', '_test_loop')


def release_workers(runner: Any) -> None:
    """End the workers of all data loaders of a runner.

    Workers that outlive an epoch end with their loader. If that lives until Python itself ends,
    torch waits five seconds for each worker and then kills it.

    Args:
        runner (Runner): The runner; a loader that is used again starts new workers.
    """
    for name in _LOOPS:
        loop = getattr(runner, name, None)
        # A loader keeps its iterator if its workers persist; the loop of training keeps another.
        for owner in (
            getattr(loop, 'dataloader_iterator', None),
            getattr(loop, 'dataloader', None),
        ):
            iterator = getattr(owner, '_iterator', None)
            if hasattr(iterator, '_shutdown_workers'):
                owner._iterator = None
                iterator._shutdown_workers()
