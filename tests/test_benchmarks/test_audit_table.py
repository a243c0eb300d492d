"""benchmarks/audit_table.py: which states it audits, what it keeps, and how it ends."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from tests.helpers.swap_configs import forget, host_config, learn, swap_config, train, write_config

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / 'audit_table.py'


@pytest.fixture(scope='module')
def module():
    spec = importlib.util.spec_from_file_location('tool_audit_table', SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def main(module, monkeypatch):
    """The command, all in this process: imports take long."""

    def audit_all(states, runs, args):
        return module.audit(states, runs, args) or []

    def call(*arguments):
        monkeypatch.setattr(module, 'audit_all', audit_all)
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, arguments)])
        module.main()

    return call


@pytest.fixture(scope='module')
def runs(picture_tree, host, tmp_path_factory):
    """A swap of three phases and a model that takes the place of one trained without classes."""
    out = tmp_path_factory.mktemp('compare')
    phases = [learn(iters=2), forget(iters=2), learn(iters=2)]
    config = swap_config(picture_tree, out / 'swap', phases, host=host)
    config.audit = dict(parts=['Answers', 'Drift'], samples=8)
    train(config)
    write_config(config, out / 'swap' / 'config.py')
    write_config(config, out / 'plain' / 'roles.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(host_config(7))
    torch.save(dict(state_dict=model.state_dict()), out / 'plain' / 'epoch_1.pth')
    states = dict.fromkeys(['start', 'phase1_learn', 'phase2_forget', 'phase3_learn'], {})
    return [
        run('swap', out / 'swap', 'phase3_learn.pth', states=states),
        run('plain', out / 'plain', 'epoch_1.pth', states=dict(start={}, trained={})),
    ]


def run(name, folder, checkpoint, seed=0, **more):
    """An entry of results.json."""
    return dict(
        name=name, seed=seed, work_dir=str(folder), checkpoint=str(folder / checkpoint), **more
    )


def write_results(folder, runs):
    path = folder / 'results.json'
    path.write_text(json.dumps(runs))
    return path


def names_of(results):
    lines = (results.parent / 'audit_table.md').read_text().splitlines()
    return [line.split(' | ')[0].removeprefix('| ') for line in lines[2:]]


def test_states_are_rows_and_what_is_finished_is_kept(main, runs, tmp_path, capsys):
    results = write_results(tmp_path, runs)
    main(results, '--reference', 'plain')
    assert names_of(results) == ['before the swap', 'floor', 'swap', 'plain']
    audits = Path(runs[0]['work_dir']) / 'audit'
    assert [folder.name for folder in audits.iterdir()] == ['phase3_learn']
    written = (audits / 'phase3_learn' / 'audit.json').stat().st_mtime_ns

    phases = ['phase1_learn', 'phase2_forget', 'phase3_learn']
    rows = ['before the swap', 'floor', *(f'swap, {phase}' for phase in phases), 'plain']
    main(results, '--reference', 'plain', '--states')
    assert names_of(results) == rows
    assert sorted(folder.name for folder in audits.iterdir()) == phases
    assert (audits / 'phase3_learn' / 'audit.json').stat().st_mtime_ns == written
    kept = json.loads((tmp_path / 'audits.json').read_text())
    assert [each['name'] for each in kept] == rows[2:]
    checkpoints = [str(Path(runs[0]['work_dir']) / f'{phase}.pth') for phase in phases]
    about = [each['audit']['about'] for each in kept]
    assert [each['checkpoint'] for each in about] == [*checkpoints, runs[1]['checkpoint']]
    assert [each['references'] for each in about] == [[runs[1]['checkpoint']]] * 3 + [[]]
    assert (tmp_path / 'audit_table.md').read_text() in capsys.readouterr().out


def test_steps_to_relearn_are_a_lower_bound_if_a_run_did_not_get_there(module):
    assert module.mean_steps([4, 8], 64) == '6 steps'
    assert module.mean_steps([4, None], 64) == '>= 34 steps'


def test_an_attack_that_some_audits_lack_has_a_column(module):
    end = dict(value=0.5)
    answers = dict(attack='answers', before=end, after=end, floor=None, verdict='x', details={})
    distance = dict(answers, attack='answer distance')
    pages = [dict(findings=[answers], tables=[]), dict(findings=[answers, distance], tables=[])]
    attacks = ['answers', 'answer distance']
    assert module.rows_of('one', pages[:1], attacks) == ['one', '0.500: x', '-', '-']
    assert module.rows_of('two', pages[1:], attacks) == ['two', '0.500: x', '0.500: x', '-']
    assert module.ends(pages, attacks)[0] == ['before the swap', '0.500', '0.500', '-']


def test_a_run_is_no_reference_of_its_own_states(main, runs, tmp_path):
    shutil.rmtree(Path(runs[0]['work_dir']) / 'audit', ignore_errors=True)
    main(write_results(tmp_path, runs[:1]), '--reference', 'swap', '--states')
    kept = json.loads((tmp_path / 'audits.json').read_text())
    assert [each['audit']['about']['references'] for each in kept] == [[], [], []]


def test_a_run_that_trained_all_weights(main, runs, picture_tree, host, tmp_path):
    """Against the host that it started from."""
    weights = dict(learn=1.0, retain=1.0, sparsity=0.0)
    config = swap_config(
        picture_tree, tmp_path / 'full', [learn(iters=1, weights=weights)], host=host, policy='all'
    )
    config.model.update(type='knowswap_mm.FullTrainingSwapper', lora=None)
    config.audit = dict(parts=['Answers', 'Similarity'], samples=8)
    train(config)
    write_config(config, tmp_path / 'full' / 'config.py')
    main(write_results(tmp_path, [run('full', tmp_path / 'full', 'phase1_learn.pth'), runs[1]]))
    assert names_of(tmp_path / 'results.json') == ['before the swap', 'floor', 'full', 'plain']
    kept = json.loads((tmp_path / 'audits.json').read_text())
    blocks = kept[0]['audit']['tables'][-1]['rows']
    assert [row[0] for row in blocks] == ['backbone.layers.0', 'backbone.layers.1']


def test_only_states_that_are_there(module, tmp_path):
    states = ['start', 'phase1_learn', 'phase2_forget', 'phase3_learn']
    swap = run('swap', tmp_path, 'phase3_learn.pth', states=states)

    def names():
        return [state['name'] for state in module.states_of(swap)]

    assert names() == ['swap, phase3_learn']  # it is missing, which its audit will say
    (tmp_path / 'phase1_learn.pth').touch()
    assert names() == ['swap, phase1_learn', 'swap, phase3_learn']
    (tmp_path / 'audit' / 'phase2_forget').mkdir(parents=True)
    (tmp_path / 'audit' / 'phase2_forget' / 'audit.json').write_text('{"findings": []}')
    (tmp_path / 'phase1_learn.pth').unlink()  # an audited state may be removed
    assert names() == ['swap, phase2_forget', 'swap, phase3_learn']
    plain = run('plain', tmp_path, 'epoch_1.pth')
    assert module.states_of(plain) == [plain]


def sleeping_run(folder, seed):
    """A run whose audit writes the id of its process and does not end."""
    folder.mkdir()
    code = "open({!r}, 'w').write(str(__import__('os').getpid()))\n__import__('time').sleep(250)\n"
    (folder / 'config.py').write_text(code.format(str(folder / 'pid')))
    return run(folder.name, folder, 'phase1_learn.pth', seed)


def read_soon(path, parent):
    """The number in a file that a worker will write."""
    while not (path.is_file() and path.read_text()):
        assert parent.poll() is None
        time.sleep(0.1)
    return int(path.read_text())


def alive(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != 'Z'


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command(module, runs, tmp_path, number):
    """However it ends: told to, by Ctrl-C, or killed; what is finished is kept."""
    sleepers = [sleeping_run(tmp_path / f'sleeper{seed}', seed) for seed in (0, 1)]
    first = runs[0]
    page = module.folder_of(first) / 'audit.json'
    page.unlink(missing_ok=True)
    results = write_results(tmp_path, [first, *sleepers])
    parent = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(results), '--parallel', '2'],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # A shell may have started us with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        workers = [read_soon(Path(each['work_dir']) / 'pid', parent) for each in sleepers]
        assert len(set(workers)) == 2 and all(map(alive, workers))
        parent.send_signal(number)
        _, shown = parent.communicate(timeout=60)
        ended = time.time() + 60
        while any(map(alive, workers)) and time.time() < ended:
            time.sleep(0.1)
        assert not any(map(alive, workers))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    if number == signal.SIGTERM:
        assert parent.returncode == 1 and shown.endswith('Stopped; the same command goes on.\n')
    assert module.read_page(first)['findings'][0]['attack'] == 'answers'
