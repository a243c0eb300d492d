"""Real runs of the tiny classifier say in words how they ended."""

import json
import logging
from types import SimpleNamespace

import pytest
from mmengine.registry import RUNNERS

import tests.helpers.faults  # noqa: F401, which registers the hook that sends a signal
from knowswap_mm.engine.hooks.phase import PhaseHook
from knowswap_mm.engine.words import say
from knowswap_mm.errors import PhaseError
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.story import Story
from tests.helpers.made_runs import made_run, phase
from tests.helpers.swap_configs import forget, learn, swap_config


@pytest.fixture
def start(picture_tree, host, tmp_path):
    """Trains with what is asked for; gives the log and the error that ended the run."""

    def run(phases, hooks=(), report=False, **changes):
        config = swap_config(picture_tree, tmp_path / 'run', phases, host=host, policy='all',
                             custom_hooks=list(hooks), **changes)  # fmt: skip
        config.default_hooks.logger = dict(type='LoggerHook', interval=1, log_metric_by_epoch=False)
        config.val_evaluator.metric.append(dict(type='knowswap_mm.PerClassAccuracy'))
        config.vis_backends = [dict(type='LocalVisBackend')]
        config.visualizer = dict(type='Visualizer', vis_backends=config.vis_backends)
        if report:
            config.default_hooks.report = dict(type='knowswap_mm.ReportHook')
        error = None
        try:
            RUNNERS.build(config).train()
        except (PhaseError, SystemExit) as found:
            error = found
        (log,) = (tmp_path / 'run').glob('*/*.log')
        return log.read_text(), error

    return run


def test_a_blow_to_retain_is_dated_and_explained(start, tmp_path):
    """A bound and a rate that destroy the model, as README's old config did on real photos."""
    text, error = start([learn(iters=10), forget(iters=16, lr_factor=40.0)])
    story = Story(RunFolder(tmp_path / 'run'))
    assert error is None and story.outcome.word == 'no'
    *_, damage = [each for each in story.remarks if each.role == 'retain' and 'fell' in each.text]
    assert 'in phase2_forget, most of it in its first ' in damage.text
    assert 'when the forget loss' in damage.text and '105' in damage.text
    assert 'swap.phases.1.lr_factor=12, the rate was 0.4' in damage.change
    assert str(damage) in text and story.outcome.headline in text


def test_losses_that_are_not_finite(start, tmp_path):
    text, error = start([learn(iters=4), forget(iters=4, lr_factor=1e30)], report=True)
    assert isinstance(error, PhaseError)
    (entry,) = json.loads((tmp_path / 'run' / 'starts.json').read_text())
    assert entry['ended']['iteration'] <= 8 and 'not finite' in entry['ended']['reason']
    said = f'The run ended after {entry["ended"]["iteration"]} of 8 iterations in phase2_forget: '
    assert said in text and 'lower optim_wrapper.optimizer.lr' in entry['ended']['change']
    banner, change = json.loads((tmp_path / 'run' / 'report.json').read_text())['answer']
    assert banner['verdict'] == 'unknown'
    assert change['What to change'][0].startswith(said)


def test_a_signal(start):
    fault = dict(type='FaultHook', name='SIGTERM', where='iteration', at=4)
    text, error = start([learn(iters=3), forget(iters=3)], [fault])
    assert error.code == 143
    said = 'The run ended after 5 of 6 iterations in phase2_forget: it was asked to stop by SIGTERM'
    assert f'{said}: go on with --resume.' in text


def test_nothing_is_told_of_an_earlier_run(tmp_path, caplog):
    """The folder has results, but not of this run, which was not evaluated yet."""
    results = made_run(dict(learn=1.0, forget=2.0, retain=3.0), kinds=['joint']).results
    results.write(tmp_path / 'swap_results.json', schedule=dict(phases=[phase(0, 'joint')]))
    logger = logging.getLogger('words')
    runner = SimpleNamespace(work_dir=str(tmp_path), logger=logger)
    hook = PhaseHook()
    with caplog.at_level(logging.INFO, 'words'):
        hook.after_stop(runner, dict(iteration=1, reason='x', change=''))
        assert caplog.text == ''
        hook.results = results
        hook.after_stop(runner, dict(iteration=1, reason='x', change=''))
    assert 'It did not work.' in caplog.text


def test_words_that_fail_lose_no_run(tmp_path, caplog):
    runner = SimpleNamespace(work_dir=str(tmp_path), logger=logging.getLogger('words'))
    say(runner)
    assert 'No words about the run (ConfigError: WORK_DIR' in caplog.text
