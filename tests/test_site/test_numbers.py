"""Numbers that stand on several pages, or in a file, are the same everywhere."""

import inspect
import json
import re
import runpy
import statistics

import pytest

from knowswap_mm.datasets import class_roles
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.schedule import phase_parser, swap_schedule
from tests.doc_blocks import DOCS, REPOSITORY, tables_of

RESULTS = REPOSITORY / 'benchmarks' / 'results'
ROLES = ('learn', 'forget', 'retain')


def table_with(page, *head):
    """The first table of a page whose head begins with these cells, without its head."""
    for rows in tables_of(page):
        if tuple(rows[0][: len(head)]) == head:
            return rows[1:]
    raise LookupError(f'{page.name} has no table with {head}')


def percent(number):
    return f'{number:.1f}'


def runs_of(name):
    """Runs of a file of results by name and seed."""
    content = json.loads((RESULTS / name).read_text())
    return {(run['name'], run['seed']): run for run in content}


def in_percent(run, state, role):
    value = run['states'][state]['metrics'].get(f'{role}/{run["primary"]}')
    return None if value is None else 100 * value / run['scale']


def test_fashion_table_is_that_of_its_file():
    runs = runs_of('fashion_test.json')
    rows = table_with(DOCS / 'results.md', 'run', 'state', 'learn')
    assert len(rows) == sum(len(run['states']) for (_, seed), run in runs.items() if seed == 0)
    for name, state, *cells in rows:
        seeds = [runs[name, seed] for seed in (0, 1, 2)]
        for place, role in enumerate(ROLES):
            each = [in_percent(run, state, role) for run in seeds]
            assert float(cells[place]) == pytest.approx(statistics.mean(each), abs=0.051)
        singles = [' / '.join(percent(in_percent(run, state, r)) for r in ROLES) for run in seeds]
        assert cells[3] == ', '.join(singles)


def test_readme_table_is_that_of_the_results():
    measured = {
        (run, state): cells[:3]
        for run, state, *cells in table_with(DOCS / 'results.md', 'run', 'state', 'learn')
    }
    name = ''
    for run, after, *cells in table_with(REPOSITORY / 'README.md', 'run', 'after'):
        name = run or name
        if run == 'before the swap':
            assert cells == measured['recommended, learn-forget', 'start']
            continue
        order = name.split(',')[0].removesuffix(' (control)')
        kind = 'official recipe' if 'official' in name else 'recommended'
        states = [state for found, state in measured if found == f'{kind}, {order}']
        (state,) = (state for state in states if state.endswith(f'_{after}'))
        assert cells == measured[f'{kind}, {order}', state], (run, after)


def test_readme_demo_is_that_of_its_file():
    """Within a point: another machine adds in another order."""
    demos = json.loads((RESULTS / 'demos.json').read_text())
    states = demos['configs/demo/vit-demo_fashion-mnist_learn-forget.py']['states']
    rows = table_with(REPOSITORY / 'README.md', 'state', 'iteration')
    assert [row[0] for row in rows] == list(states)
    for state, _, *cells in rows:
        for place, role in enumerate(ROLES):
            assert float(cells[place]) == pytest.approx(states[state][role], abs=1.0)


def test_detection_seed_0_is_that_of_its_file():
    runs = runs_of('dino-mini_test_seed0.json')
    section = (DOCS / 'results.md').read_text().split('## Detection')[1]
    found = re.findall(r'^\| (?:learn-forget)?.*\| ([\d.]+)/([\d.]+)/([\d.]+), ', section, re.M)[:2]
    for numbers, state in zip(found, ('phase1_learn', 'phase2_forget'), strict=True):
        wanted = tuple(percent(in_percent(runs['learn-forget', 0], state, r)) for r in ROLES)
        assert numbers == wanted


def test_baselines_are_those_of_their_file():
    """The state at the end of each run."""
    kept = table_with(RESULTS / 'fashion_baselines.md', 'run', 'state')
    last = {row[0]: row[2:5] for row in kept if row[1] != 'start'}
    shown = table_with(DOCS / 'results.md', 'run', 'learn', 'forget', 'retain', 'seconds')
    other = {'learn-forget, official recipe': 'official learn-forget',
             'saliency mask and random labels': 'saliency',
             'gradient ascent without a bound': 'gradient ascent'}  # fmt: skip
    compared = 0
    for name, *cells in shown:
        short = other.get(name, name.split(':')[0]).replace('EWC', 'ewc')
        if short in last:
            assert cells[:3] == last[short], name
            compared += 1
    assert compared == len(last)


def test_data_tables_are_those_of_their_files():
    scale = json.loads((RESULTS / 'data_scale.json').read_text())
    rows = table_with(DOCS / 'data.md', 'pictures', 'convert s')
    assert [int(row[0].replace(',', '')) for row in rows] == [each['pictures'] for each in scale]
    for (_, *cells), each in zip(rows, scale, strict=True):
        wanted = each['convert_s'], each['convert_mib'], each['open_s'], each['open_mib']
        for cell, number in zip(cells, wanted, strict=True):
            digits = len(cell.partition('.')[2])
            assert float(cell) == pytest.approx(number, abs=0.51 * 10**-digits)
    path = json.loads((RESULTS / 'data_path_cpu.json').read_text())['rows']
    rows = table_with(DOCS / 'data.md', 'cache', 'epoch 1')
    assert [row[0] for row in rows] == [each['cache'] for each in path]
    for (_, *cells), each in zip(rows, path, strict=True):
        assert [c.replace(',', '') for c in cells] == [f'{n:.0f}' for n in each['pictures_per_s']]


def test_model_zoo_is_up_to_date():
    tool = runpy.run_path(str(REPOSITORY / 'tools' / 'setup' / 'model_zoo.py'))
    assert tool['page']() == tool['PAGE'].read_text(), 'Fix: python tools/setup/model_zoo.py'


def test_model_zoo_has_all_weights_and_their_checksums():
    text = (DOCS / 'model_zoo.md').read_text()
    cards = sorted((REPOSITORY / 'weights').glob('*.json'))
    assert re.findall(r'^## (.+)$', text, re.MULTILINE) == [card.stem for card in cards]
    for card in cards:
        assert json.loads(card.read_text())['file_sha256'] in text
        assert f'`weights/{card.stem}.safetensors`' in text


def test_config_reference_has_all_keys():
    keys = {
        rows[0][0]: {row[0] for row in rows[1:]}
        for rows in tables_of(DOCS / 'config.md')
        if rows[0][0].startswith('key of')
    }
    assert keys['key of swap'] == set(swap_schedule._KEYS)
    assert keys['key of swap.classes'] == set(class_roles._KEYS)
    assert keys['key of a phase'] == phase_parser._KEYS
    assert keys['key of model'] == {'type', *inspect.signature(KnowledgeSwapper).parameters}
