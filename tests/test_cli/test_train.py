"""tools/train.py: what it does with its options, and how it fails."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from knowswap_mm.engine import SwapOptimWrapper
from tests.helpers.swap_configs import learn, swap_config, weights_of, write_config

SCRIPT = Path(__file__).parents[2] / 'tools' / 'train.py'


@pytest.fixture
def main(monkeypatch):
    """The command, in this process."""
    spec = importlib.util.spec_from_file_location('tool_train', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, arguments)])
        module.main()

    return call


@pytest.fixture
def config(picture_tree, host, tmp_path):
    return swap_config(picture_tree, tmp_path / 'run', host=host)


@pytest.fixture
def refusal(main, tmp_path, capsys):
    """Runs a config that must be refused; gives the message."""

    def call(config, *options):
        with pytest.raises(SystemExit) as caught:
            main(write_config(config, tmp_path / 'config.py'), *options)
        assert isinstance(caught.value.code, str)  # a text: Python prints it and exits with 1
        assert 'Traceback' not in caught.value.code
        assert not list(tmp_path.glob('run/*.pth'))
        return caught.value.code

    return call


def test_list_option_reaches_the_run(main, config, tmp_path):
    path = write_config(config, tmp_path / 'config.py')
    main(
        path, '--work-dir', tmp_path / 'other', '--cfg-options', 'swap.phases.0.iters=2',
        'swap.phases.1.iters=1', 'swap.phases.1.bound=9.5',
    )  # fmt: skip
    schedule = json.loads((tmp_path / 'other' / 'schedule.json').read_text())
    assert [phase['length'] for phase in schedule['phases']] == [2, 1]
    assert schedule['phases'][1]['bound'] == 9.5
    results = json.loads((tmp_path / 'other' / 'swap_results.json').read_text())['states']
    assert [state['iteration'] for state in results.values()] == [0, 2, 3]
    assert not (tmp_path / 'run').exists()


def test_no_validate_trains_the_same_without_results(main, config, tmp_path):
    path = write_config(config, tmp_path / 'config.py')
    main(path, '--no-validate')
    main(path, '--work-dir', tmp_path / 'with', '--cfg-options', 'experiment_name=validated')
    assert not (tmp_path / 'run' / 'swap_results.json').exists()
    left, right = (weights_of(tmp_path / n / 'phase2_forget.pth') for n in ('run', 'with'))
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_resume_auto_starts_or_goes_on(main, config, tmp_path):
    path = write_config(config, tmp_path / 'config.py')
    main(path, '--resume')
    assert 'Nothing to resume in' in next((tmp_path / 'run').glob('*/*.log')).read_text()
    last = tmp_path / 'run' / 'phase2_forget.pth'
    before = weights_of(last)
    last.unlink()
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'phase1_learn.pth'))
    main(path, '--resume', '--cfg-options', 'experiment_name=again')
    log = max((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'Resumed at iteration 3 in phase2_forget' in log
    after = weights_of(last)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_load_from_option(main, config, host, tmp_path):
    config.load_from, config.swap.allow_random_host = None, False
    main(write_config(config, tmp_path / 'config.py'), '--load-from', host)
    loaded = weights_of(tmp_path / 'run' / 'phase1_learn.pth')
    assert torch.equal(loaded['host.backbone.cls_token'], weights_of(host)['backbone.cls_token'])


def test_scaled_learning_rate(main, config, refusal, tmp_path):
    assert 'Fix: add auto_scale_lr = dict(base_batch_size=' in refusal(config, '--auto-scale-lr')
    config.auto_scale_lr = dict(base_batch_size=16, enable=False)
    main(write_config(config, tmp_path / 'config.py'), '--auto-scale-lr')
    state = torch.load(tmp_path / 'run' / 'phase2_forget.pth', weights_only=False)
    assert state['optimizer']['param_groups'][0]['lr'] == pytest.approx(1e-2 * 8 / 16)


def test_unknown_class(config, refusal):
    config.swap.classes.forget = ['bb']
    message = refusal(config)
    assert message.startswith("ConfigError: swap.classes.forget = 'bb': unknown class")
    assert "Fix: did you mean one of ['b'" in message


def test_split_that_does_not_sum(config, refusal):
    config.swap.phases[0] = learn(iters=3, split=dict(learn=4, retain=5))
    message = refusal(config)
    assert message.startswith('ConfigError: swap.phases.0.split = ')
    assert 'sums to 9' in message and 'batch_size is 8' in message


def test_unknown_phase_key(config, refusal):
    config.swap.phases[1].iterations = 5
    assert 'swap.phases.1.iterations = 5: unknown key' in refusal(config)


def test_host_that_was_never_loaded(config, refusal):
    config.load_from, config.swap.allow_random_host = None, False
    assert 'load_from = None: the host would be swapped with random weights' in refusal(config)


def test_missing_checkpoint(config, refusal):
    config.load_from = 'nowhere/host.pth'
    assert "load_from = 'nowhere/host.pth': no such file. Fix: " in refusal(config)


def test_head_that_does_not_fit(config, refusal):
    config.swap.classes.old = ['a', 'b', 'c', 'd']
    config.model.head.old_classes = 4
    message = refusal(config)
    assert 'head.layers.head.weight of shape (5, 32)' in message
    assert 'model.head.old_classes to the classes of the checkpoint (5)' in message


def test_checkpoint_of_another_host(config, refusal):
    config.model.host.backbone.arch.num_layers = 3
    message = refusal(config)
    assert message.startswith('CheckpointError') and 'does not fit the model' in message
    assert 'backbone.layers.2' in message


def test_config_without_a_swap(config, refusal):
    config.pop('swap')
    assert refusal(config).startswith('ConfigError: swap = None: the config describes no swap')


def test_pattern_that_matches_nothing(config, refusal):
    config.model.lora.targets = '.*nothing'
    assert "ConfigError: model.lora.targets = '.*nothing'" in refusal(config)


def test_resume_from_weights_only(config, refusal, host):
    assert 'weights but no training state' in refusal(config, '--resume', host)


def test_missing_config(main):
    with pytest.raises(SystemExit) as caught:
        main('no_such_config.py')
    assert "config = 'no_such_config.py': there is no config file" in caught.value.code


@pytest.mark.skipif(torch.cuda.is_available(), reason='is allowed with an accelerator')
def test_amp_needs_an_accelerator(config, refusal):
    assert '--amp' in refusal(config, '--amp')


def test_amp_trains_in_bfloat16(config, request, tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cuda')  # what the tool asks
    seen = []
    step = SwapOptimWrapper.step
    monkeypatch.setattr(
        SwapOptimWrapper, 'step', lambda self: seen.append(self.dtype) or step(self)
    )
    request.getfixturevalue('main')(write_config(config, tmp_path / 'config.py'), '--amp')
    assert seen == [torch.bfloat16] * 6
    assert (tmp_path / 'run' / 'phase2_forget.pth').exists()


@pytest.mark.slow
def test_exit_code_of_the_process(config, tmp_path):
    config.swap.classes.forget = ['bb']
    command = [sys.executable, str(SCRIPT), str(write_config(config, tmp_path / 'config.py'))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1
    assert "ConfigError: swap.classes.forget = 'bb'" in done.stderr
    assert 'Traceback' not in done.stderr
