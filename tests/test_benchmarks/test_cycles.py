"""benchmarks/cycles.py: what earlier swaps of a chain forgot is audited at its end."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.helpers.continual_runs import SWAPS, add_class, continual, write_configs
from tests.helpers.swap_configs import pretrain_host

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / 'cycles.py'


@pytest.fixture(scope='module')
def module():
    return importlib.import_module('cycles')


@pytest.fixture(scope='module')
def configs(picture_tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp('cycles')
    tree = add_class(picture_tree, folder / 'pictures')
    paths = write_configs(tree, folder, pretrain_host(tree, folder / 'host.pth'), (6, 8))
    for path in paths:
        config = Config.fromfile(path)
        config.audit = dict(parts=['Answers', 'PrototypeProbe', 'Drift'], samples=100)
        config.dump(str(path))
    return paths, folder


@pytest.fixture(scope='module', params=['export', 'adapters'])
def chain(request, configs):
    """A finished chain of three swaps, and its audits."""
    paths, folder = configs
    work = folder / request.param
    continual(*paths, '--work-dir', work, '--through', request.param)
    return work


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, arguments)])
    module.main()


def audits_of(work):
    found = json.loads((work / 'cycles' / 'audits.json').read_text())
    return {(each['swap'], each['state']): each for each in found}


def accuracy(work, state, name):
    """What the chain measured of a class, as a share."""
    states = json.loads((work / 'continual.json').read_text())['states']
    return states[state]['classes'][name] / 100


def test_what_earlier_swaps_forgot_is_audited_at_the_end(module, chain, monkeypatch, capsys):
    run(module, monkeypatch, chain)
    audits = audits_of(chain)
    assert list(audits) == [(1, 1), (1, 3), (2, 2), (2, 3), (3, 3)]
    for (swap, state), each in audits.items():
        new, gone, kept = SWAPS[swap - 1]
        about, answers = each['audit']['about'], each['audit']['findings'][0]
        assert about['forgotten'] == each['forgotten'] == [gone] and about['learned'] == []
        assert Path(about['checkpoint']).stem == f'swap{state}'
        # The same as the chain's own test of that state, and of the model before the swap.
        assert answers['attack'] == 'answers'
        assert answers['before']['value'] == pytest.approx(accuracy(chain, swap - 1, gone))
        assert answers['after']['value'] == pytest.approx(accuracy(chain, state, gone))
    table = (chain / 'cycles' / 'table.md').read_text()
    assert table in capsys.readouterr().out
    cells = [tuple(line.split(' | ')[:2]) for line in table.splitlines() if line.startswith('| ')]
    assert [(first.strip('| '), second.strip()) for first, second in cells[2:]] == [
        (name, state)
        for name, states in (('b', (1, 3)), ('x', (2, 3)), ('d', (3,)))
        for state in (
            f'before the swap {states[0]}', 'floor', *(f'after swap {number}' for number in states)
        )
    ]  # fmt: skip
    assert table.count('\n- ') == 2  # nothing can have come back of what was forgotten last


def test_finished_audits_are_kept_and_states_in_between_are_added(module, chain, monkeypatch):
    run(module, monkeypatch, chain)
    page = chain / 'cycles' / 'forgotten_by_swap1' / 'swap3' / 'audit.json'
    written = page.stat().st_mtime_ns
    run(module, monkeypatch, chain, '--every')
    assert list(audits_of(chain)) == [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)]
    assert page.stat().st_mtime_ns == written


def test_roles_of_an_audit(module, chain):
    """What a later swap forgot plays none; what this one learned is retained, or gone."""
    configs = module.read_chain(chain, None)
    roles = []
    for config in configs:
        roles.append(module.roles_of(config, roles))
    found = [module.audit_config(number, configs, roles).swap.classes for number in (1, 2, 3)]
    assert [each['old'] for each in found] == [list('abcdexyz')] * 3
    assert [each['forget'] for each in found] == [['b'], ['x'], ['d']]
    assert [each['retain'] for each in found] == [list('ace'), list('acey'), list('aceyz')]


def test_references_by_swap(module):
    texts = ['all.pth', '2=second.pth', 'odd=name.pth']
    assert module.references_of(1, texts) == ['all.pth', 'odd=name.pth']
    assert module.references_of(2, texts) == ['all.pth', 'second.pth', 'odd=name.pth']


def test_what_rose_surely(module):
    def page(answers, relearning, steps):
        keys = ('value', 'low', 'high')
        ends = (dict(zip(keys, end, strict=True)) for end in (answers, relearning))
        details = ({}, dict(steps=dict(after=steps), limit=64))
        names = ('answers', 'relearning')
        parts = zip(names, ends, details, strict=True)
        return dict(findings=[dict(attack=n, after=e, details=d) for n, e, d in parts])

    first = page((0.0, 0.0, 0.1), (-4.0, -5.0, -3.0), [15, None])
    # The difference is 0.3, and its interval reaches down by hypot(0.1, 0.1) < 0.3.
    last = page((0.3, 0.2, 0.4), (-1.0, -1.5, -0.5), [1, 3])
    assert module.risen(first, last) == [
        'answers 0.000 -> 0.300', 'relearning >= 40 steps -> 2 steps'
    ]  # fmt: skip
    # By hypot(0.25, 0.1) = 0.27 > 0.25 here; and steps without an interval are not surely less.
    assert module.risen(first, page((0.25, 0.0, 0.4), (-1.0, None, None), [1])) == []


def test_a_chain_that_is_not_there_is_told(module, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match='holds no chain of swaps. Fix: run `knowswap continual`'):
        run(module, monkeypatch, tmp_path)


def test_an_unfinished_chain_is_told(module, chain, tmp_path, monkeypatch):
    (tmp_path / 'swap1').mkdir()
    (tmp_path / 'swap1.py').write_text((chain / 'swap1.py').read_text())
    schedule = (chain / 'swap1' / 'schedule.json').read_text()
    (tmp_path / 'swap1' / 'schedule.json').write_text(schedule)
    with pytest.raises(SystemExit, match=r'phase2_forget\.pth is not there\. Fix: finish'):
        run(module, monkeypatch, tmp_path)
