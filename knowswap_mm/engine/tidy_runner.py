"""A runner that leaves no processes behind."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from knowswap_mm.engine.loader_worker import start_worker
from knowswap_mm.engine.parent_death import die_with_launcher
from knowswap_mm.models.foreign_code import no_foreign_code

_LOOPS = ('_train_loop', '_val_loop', '_test_loop')


class TidyRunner(Runner):
    """mmengine's runner, whose processes end when they should.

    - Loader workers that outlive an epoch end with the training or test. Otherwise they live until
      Python ends, where torch waits five seconds for each of them and then kills it.
    - A worker whose process is killed ends as well, and no worker ends before, see
      :func:`start_worker`.
    - Processes of a torchrun that is killed end with it, see :func:`die_with_launcher`.

    Its model is built without foreign code, see :func:`no_foreign_code`.

    Args:
        *args: As for :class:`mmengine.runner.Runner`.
        **kwargs: Likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        die_with_launcher()  # first of all: it may die while its processes wait for one another
        super().__init__(*args, **kwargs)

    def train(self) -> Any:
        """Train."""
        try:
            return super().train()
        finally:
            self._release_workers()

    def val(self) -> dict[str, float]:
        """Evaluate on the validation data."""
        try:
            return super().val()
        finally:
            self._release_workers()

    def test(self) -> dict[str, float]:
        """Evaluate on the test data."""
        try:
            return super().test()
        finally:
            self._release_workers()

    def build_model(self, model: Any) -> nn.Module:
        """Build the model; nothing is fetched or unpickled for it.

        Args:
            model (dict | nn.Module): See :class:`mmengine.runner.Runner`.

        Raises:
            ConfigError: If a part of it tries to.
        """
        with no_foreign_code('model', model if isinstance(model, dict) else None):
            return super().build_model(model)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a loader.

        Args:
            dataloader (dict | DataLoader): See :class:`mmengine.runner.Runner`, like the others.
            *args: Likewise.
            **kwargs: Likewise.
        """
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        if isinstance(loader, DataLoader) and loader is not dataloader:
            loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        return loader

    def _release_workers(self) -> None:
        for name in _LOOPS:
            loop = getattr(self, name, None)
            # A loader keeps its iterator if its workers persist; the training loop keeps another.
            for part in ('dataloader_iterator', 'dataloader'):
                owner = getattr(loop, part, None)
                iterator = getattr(owner, '_iterator', None)
                if hasattr(iterator, '_shutdown_workers'):
                    owner._iterator = None
                    iterator._shutdown_workers()
