"""``knowswap doctor`` as a whole: once for real, and what it does with what checks say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from knowswap_mm.cli.main import main
from knowswap_mm.doctor import Check, Examination, Finding

REPOSITORY = Path(__file__).parents[2]


class Fake(Check):
    """Says what a test wants it to say."""

    name, order, says = 'fake', 1, ()

    def findings(self):
        for each in self.says:
            if isinstance(each, Exception):
                raise each
            yield each


@pytest.fixture
def checks(monkeypatch):
    """Replaces all checks; each is a name, what it needs, and what it says."""

    def replace(*rows):
        kinds = {
            name: type(name, (Fake,), dict(name=name, needs=needs, says=says))
            for name, needs, says in rows
        }
        monkeypatch.setattr(Examination, 'checks', staticmethod(lambda: kinds))

    return replace


def doctor(capsys, *options):
    """Exit code and output."""
    try:
        main(['doctor', *map(str, options)])
    except SystemExit as caught:
        return caught.code, capsys.readouterr().out
    return 0, capsys.readouterr().out


OK = Finding('ok', 'all is well')
BAD = Finding('problem', 'it broke', 'glue it')


@pytest.mark.slow
def test_this_very_installation(tmp_path):
    """All checks, among them a real swap, in a process of their own."""
    command = [sys.executable, '-m', 'knowswap_mm', 'doctor', '--json', '--work-dir', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    found = json.loads(done.stdout)
    problems = [each for each in found['findings'] if each['state'] == 'problem']
    assert problems == [] and found['ok'] and done.returncode == 0
    assert list(dict.fromkeys(each['check'] for each in found['findings'])) == [
        'python', 'packages', 'originals', 'torch', 'torchvision', 'hosts', 'mmcv', 'device',
        'work_dir', 'swap',
    ]  # fmt: skip
    assert 'a swap of two steps works' in found['findings'][-1]['text']
    assert not list(tmp_path.iterdir())


def test_a_torch_that_is_broken(tmp_path):
    """The doctor itself needs none."""
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch' / '__init__.py').write_text('raise ImportError("libtorch.so: no symbol")')
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-m', 'knowswap_mm', 'doctor', '--work-dir', str(tmp_path)],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    (problem,) = (line for line in done.stdout.splitlines() if line.startswith('problem '))
    assert 'cannot be imported (ImportError: libtorch.so: no symbol)' in problem
    assert 'swap: not tried, because of what is wrong above (torch' in done.stdout


def test_one_problem_is_enough(checks, capsys):
    checks(('a', (), [OK, Finding('warning', 'it is slow')]), ('b', (), [BAD]))
    assert doctor(capsys) == (
        1,
        'ok      all is well\nwarning it is slow\nproblem it broke\n        Fix: glue it\n\n'
        'problems: 1, warnings: 1\n',
    )


def test_for_machines(checks, capsys):
    checks(('a', (), [OK]), ('b', (), [BAD]))
    code, text = doctor(capsys, '--json')
    assert code == 1
    assert json.loads(text) == dict(
        ok=False,
        findings=[
            dict(check='a', state='ok', text='all is well', fix=None),
            dict(check='b', state='problem', text='it broke', fix='glue it'),
        ],
    )


def test_warnings_are_no_failure(checks, capsys):
    checks(('a', (), [Finding('warning', 'it is slow')]))
    code, text = doctor(capsys, '--json')
    assert code == 0 and json.loads(text)['ok']


def test_what_needs_a_broken_thing_is_not_tried(checks, tmp_path):
    checks(('a', (), [BAD]), ('b', ('a',), [OK]), ('c', ('b',), [OK]), ('d', (), [OK]))
    found = list(Examination(tmp_path).findings())
    assert [(name, finding.state) for name, finding in found] == [
        ('a', 'problem'), ('b', 'warning'), ('c', 'warning'), ('d', 'ok')
    ]  # fmt: skip
    assert 'not tried' in found[1][1].text and '(a)' in found[1][1].text


def test_checks_can_be_left_out(checks, capsys):
    checks(('a', (), [BAD]), ('b', ('a',), [OK]))
    assert doctor(capsys, '--skip', 'a')[0] == 0
    code, _ = doctor(capsys, '--skip', 'nowhere')
    assert code.startswith("ConfigError: --skip = 'nowhere'") and "['a', 'b']" in code


def test_a_check_that_breaks_is_a_problem(checks, tmp_path):
    checks(('a', (), [OK, OSError('the disk is gone')]), ('b', (), [OK]))
    found = [finding for _, finding in Examination(tmp_path).findings()]
    assert [finding.state for finding in found] == ['ok', 'problem', 'ok']
    assert 'a cannot be checked (OSError: the disk is gone)' == found[1].text


def test_findings_are_complete():
    with pytest.raises(ValueError, match='state must be one of'):
        Finding('fine', 'x')
    with pytest.raises(ValueError, match='needs a fix'):
        Finding('problem', 'x')


def test_checks_are_registered_with_known_needs():
    checks = Examination.checks()
    orders = [kind.order for kind in checks.values()]
    assert len(set(orders)) == len(orders) >= 10
    for number, kind in enumerate(checks.values()):
        assert set(kind.needs) <= set(list(checks)[:number]), 'what it needs is looked at before'
        assert kind.__doc__
