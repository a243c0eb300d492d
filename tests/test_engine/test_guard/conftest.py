"""Small runs with a guard."""

import pytest

from knowswap_mm.schedule import Decision
from tests.helpers.swap_configs import forget, swap_config

#: Of 12 images a class 4 are held out.
HOLDOUT = 0.34


@pytest.fixture(scope='module')
def any_cost():
    """Small batches would not pay for a look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('knowswap_mm.engine.guard.plan.COST', 100.0)
        yield


@pytest.fixture(scope='module')
def guarded(picture_tree, host, any_cost):
    """Makes the config of a run with a guard, which is looked at every five iterations."""

    def make(folder, phases=None, guard=True, holdout=HOLDOUT, batch_size=16, **changes):
        config = swap_config(
            picture_tree,
            folder,
            phases or [forget(iters=12)],
            host=host,
            batch_size=batch_size,
            policy='all',
            param_scheduler=[dict(type='CosineAnnealingLR', eta_min=1e-5)],
            **changes,
        )
        config.swap.update(guard=guard, holdout=holdout)
        hook = dict(type='knowswap_mm.PhaseHook', evaluate_start=False, save_adapter=False)
        config.custom_hooks = [
            hook | dict(save_phase_adapters=False),
            *config.get('custom_hooks', []),
        ]
        return config

    return make


@pytest.fixture
def script(monkeypatch):
    """Lets the guard decide as a test says, instead of what it sees: decisions by iteration."""

    def say(**decisions):
        said = {int(at.removeprefix('at')): each for at, each in decisions.items()}

        def judge(watched, looks, good, best):
            at = looks[-1].at
            found = said.get(at)
            return found and Decision(at=at, phase=watched.phase.index, **found)

        monkeypatch.setattr('knowswap_mm.engine.hooks.guard.judge', judge)

    return say
