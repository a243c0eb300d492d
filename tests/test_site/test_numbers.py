"""Numbers that stand on several pages, or in a file, are the same everywhere."""

import inspect
import json
import re
import statistics

import pytest

from knowswap_mm.datasets import classes as class_roles
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.schedule import parser as phase_parser
from knowswap_mm.schedule import schedule as swap_schedule
from tests.helpers.doc_blocks import DOCS, REPOSITORY, tables_of

RESULTS = REPOSITORY / 'benchmarks' / 'results'
MEASUREMENTS = DOCS / 'measurements'
FASHION = MEASUREMENTS / 'fashion_mnist.md'
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
    rows = table_with(FASHION, 'run', 'state', 'learn')
    assert len(rows) == sum(len(run['states']) for (_, seed), run in runs.items() if seed == 0)
    for name, state, *cells in rows:
        seeds = [runs[name, seed] for seed in (0, 1, 2)]
        for place, role in enumerate(ROLES):
            each = [in_percent(run, state, role) for run in seeds]
            assert float(cells[place]) == pytest.approx(statistics.mean(each), abs=0.051)
        singles = [' / '.join(percent(in_percent(run, state, r)) for r in ROLES) for run in seeds]
        assert cells[3] == ', '.join(singles)


#: Rows of README's table, in order.
SWAPS = (
    'grocery', 'grocery-twins', 'grocery-twins-10', 'camvid-upernet', 'camvid-mask2former',
    'cards-bccd-dino', 'fashion-mnist', 'shapes-dino-mini', 'shapes-mask2former-mini',
)  # fmt: skip


def test_real_swaps_are_those_of_their_file():
    rows = json.loads((RESULTS / 'real_swaps.json').read_text())['rows']
    page = MEASUREMENTS / 'real_swaps.md'
    measured = {row[0]: row[1:] for row in table_with(page, 'swap', 'before')}
    assert set(measured) == {row['swap'] for row in rows}

    def mean(found, state):
        ends = [statistics.mean(row[state][role] for row in found) for role in ROLES]
        return ' / '.join(map(percent, ends))

    for name, (before, recipe, learn, retain, old, official, _) in measured.items():
        own = [row for row in rows if row['swap'] == name]
        auto = [row for row in own if row['recipe'] == 'auto']
        assert len(auto) == 3
        assert before == mean(auto, 'start') and recipe == mean(auto, 'end')
        known = [[row[f'{role}_reference'] for row in auto] for role in ('learn', 'retain')]
        means = ['-' if None in each else percent(statistics.mean(each)) for each in known]
        assert [learn, retain] == means
        for cell, kind in ((old, 'readme'), (official, 'official')):
            found = [row for row in own if row['recipe'] == kind]
            assert cell == (mean(found, 'end') if found else '-')
    for name, (_, *cells) in zip(SWAPS, table_with(REPOSITORY / 'README.md', 'swap'), strict=True):
        before, recipe, learn, retain, *_ = measured[name]
        assert cells == [
            before,
            recipe,
            f'{learn} / – / {retain}'.replace('- / – / -', 'not measured'),
        ]


#: Rows of README's table of what comes back, in order.
GAPS = 'fashion-mnist', 'shapes-dino-mini', 'shapes-mask2former-mini', 'grocery'


def test_gaps_to_references_are_those_of_their_file():
    page = (DOCS / 'audit.md').read_text()
    rows = json.loads((RESULTS / 'forgetting.json').read_text())['rows']
    gaps = (RESULTS / 'forgetting.md').read_text().strip().split('\n\n')
    assert all(each in page for each in gaps)
    table = table_with(DOCS / 'audit.md', 'benchmark', 'objective')
    for name, objective, start, *_ in table:
        own = [r for r in rows if (r['benchmark'], r['objective']) == (name, objective)]
        assert start == percent(statistics.mean(row['start']['retain'] for row in own))
    told = {(row[0], row[1]): row[5] for row in table}
    for (_, *gaps), name in zip(
        table_with(REPOSITORY / 'README.md', 'swap', 'ordinary'), GAPS, strict=True
    ):
        assert gaps == [told[name, objective] for objective in ('recipe', 'deep')]


def test_results_in_short_are_those_of_their_pages():
    """Before and after each swap, and what five examples of a class find."""
    places = ('fashion_mnist', 'recommended, learn-forget'), ('fashion_mnist', 'official recipe')
    places += ('shapes_detection', 'learn-forget'), ('shapes_segmentation', 'learn-forget')
    rows = table_with(DOCS / 'results.md', 'swap, learn-forget')
    for (page, run), (_, *cells) in zip(places, rows, strict=True):
        table = next(rows[1:] for rows in tables_of(MEASUREMENTS / f'{page}.md'))
        names = [row[0] or '-' for row in table]
        begin = next(i for i, name in enumerate(names) if name.startswith(run))
        start = table[begin] if 'fashion' in page else table[names.index('before the swap')]
        end = table[begin + (2 if 'fashion' in page else 1)]
        wanted = [f'{a} → {b}' for a, b in zip(start[2:5], end[2:5], strict=True)]
        assert cells[:3] == wanted, (page, run)
    probes = table_with(DOCS / 'results.md', 'five examples a class find of the forgotten')
    heads = (
        (FASHION, 'run', 'answers', 'linear probe', '5 shots'),
        *(
            (
                MEASUREMENTS / f'shapes_{task}.md',
                'run',
                f'answers: forgotten {things} that are named',
            )
            for task, things in (('detection', 'objects'), ('segmentation', 'regions'))
        ),
    )
    for (_, *cells), head in zip(probes, heads, strict=True):
        found = {row[0]: row[3].split(' ')[0] for row in table_with(*head)}
        after = 'learn-forget, end' if 'learn-forget, end' in found else 'learn-forget'
        assert cells == [found['before the swap'], found[after], found['floor']]


def test_the_demo_is_that_of_its_file():
    """Within a point: another machine adds in another order."""
    demos = json.loads((RESULTS / 'demos.json').read_text())
    states = demos['configs/demo/vit-demo_fashion-mnist_learn-forget.py']['states']
    rows = table_with(DOCS / 'get_started.md', 'state', 'iteration')
    assert [row[0] for row in rows] == list(states)
    for state, _, *cells in rows:
        for place, role in enumerate(ROLES):
            assert float(cells[place]) == pytest.approx(states[state][role], abs=1.0)


def test_detection_seed_0_is_that_of_its_file():
    runs = runs_of('dino-mini_test_seed0.json')
    section = (MEASUREMENTS / 'shapes_detection.md').read_text()
    found = re.findall(r'^\| (?:learn-forget)?.*\| ([\d.]+)/([\d.]+)/([\d.]+), ', section, re.M)[:2]
    for numbers, state in zip(found, ('phase1_learn', 'phase2_forget'), strict=True):
        wanted = tuple(percent(in_percent(runs['learn-forget', 0], state, r)) for r in ROLES)
        assert numbers == wanted


#: What a file calls the runs that the pages give other names.
NAMES = {
    'learn-forget, official recipe': 'official learn-forget',
    'saliency mask and random labels': 'saliency',
    'gradient ascent without a bound': 'gradient ascent',
    'EWC': 'ewc',
    'retrain (against the other two)': 'retrain',
}


def kept_name(name):
    name = name.split(':')[0]
    return NAMES.get(name, name)


def test_baselines_are_those_of_their_file():
    """The state at the end of each run."""
    kept = table_with(RESULTS / 'fashion_baselines.md', 'run', 'state')
    last = {row[0]: row[2:5] for row in kept if row[1] != 'start'}
    rows = table_with(FASHION, 'run', 'learn', 'forget', 'retain', 'seconds')
    shown = {kept_name(name): cells[:3] for name, *cells in rows}
    assert {name: shown.get(name) for name in last} == last


def test_head_rows_are_those_of_their_file():
    kept = table_with(RESULTS / 'fashion_val_seed1.md', 'run', 'state')
    last = {row[0]: row[2:5] for row in kept}
    short = dict(frozen='frozen', new_rows='new', all='all')
    for policy, share, *cells in table_with(FASHION, 'head policy'):
        if policy == 'before the swap':
            assert cells == kept[0][2:5]
        else:
            name = f'LF {short[policy]}' + ('' if share == '-' else f' ms.{share[-1]}')
            assert cells == last[name], name


def test_audits_are_those_of_their_file():
    """In percent, but for AUCs; a verdict for each seed instead of a word for all."""
    kept = {row[0]: row[1:] for row in table_with(RESULTS / 'fashion_audit.md', 'run', 'answers')}
    rows = table_with(FASHION, 'run', 'answers', 'linear probe', '5 shots')
    assert {kept_name(name) for name, *_ in rows} == set(kept)
    for name, *cells in rows:
        found = kept[kept_name(name)]
        places = zip(
            cells, (found[i] for i in (0, 1, 2, 3, 6, 7)), (100,) * 3 + (1, 1, 100), strict=True
        )
        for cell, wanted, factor in places:
            if cell:
                numbers, digits = re.findall(r'\d+\.\d+', cell), 1 if factor == 100 else 3
                each = re.findall(r'\d+\.\d+', wanted)
                assert numbers == [f'{float(n) * factor:.{digits}f}' for n in each], (name, cell)


def test_the_first_page_names_what_the_detector_measured():
    text = ' '.join((DOCS / 'get_started.md').read_text().split())
    found = re.search(
        r'ended at AP ([\d.]+) \(learn; ([\d.]+) if nothing is to be forgotten\), ([\d.]+) '
        r'\(forget; ([\d.]+) before\) and ([\d.]+) \(retain; ([\d.]+) before\)',
        text,
    )
    runs = runs_of('dino-mini_test_seed0.json')
    swap, reference = runs['learn-forget', 0], runs['reference, learn with all retained', 0]
    wanted = (
        in_percent(swap, 'phase2_forget', 'learn'),
        in_percent(reference, 'phase1_learn', 'learn'),
        in_percent(swap, 'phase2_forget', 'forget'),
        in_percent(swap, 'start', 'forget'),
        in_percent(swap, 'phase2_forget', 'retain'),
        in_percent(swap, 'start', 'retain'),
    )
    assert found.groups() == tuple(map(percent, wanted))


def test_the_first_page_names_what_the_segmentor_measured():
    text = ' '.join((DOCS / 'get_started.md').read_text().split())
    found = re.search(
        r'ended at mIoU ([\d.]+) \(learn\), ([\d.]+) \(forget; ([\d.]+) before\) '
        r'and ([\d.]+) \(retain; ([\d.]+) before\)',
        text,
    )
    demos = json.loads((RESULTS / 'demos.json').read_text())
    states = demos['configs/demo/mask2former-demo_shape-scenes_learn-forget.py']['states']
    start, end = states['start'], states['phase2_forget']
    wanted = end['learn'], end['forget'], start['forget'], end['retain'], start['retain']
    assert found.groups() == tuple(map(percent, wanted))


def test_data_tables_are_those_of_their_files():
    scale = json.loads((RESULTS / 'data_scale.json').read_text())
    rows = table_with(DOCS / 'data.md', 'images', 'convert s')
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


TASKS = ('classification', 'detection', 'segmentation')


def test_step_times_are_those_of_their_files():
    files = [
        {row['loop']: row for row in json.loads((RESULTS / name).read_text())['rows']}
        for name in (f'step_time_{task}_bf16_h200.json' for task in TASKS)
    ]
    rows = table_with(MEASUREMENTS / 'speed.md', 'bf16, H200')
    assert {row[0] for row in rows} == set(files[0])
    for loop, *cells in rows:
        for place, measured in enumerate(files):
            row = measured.get(loop)
            wanted = [f'{row["milliseconds"]:.1f}', f'{row["memory"]:,}'] if row else ['', '']
            assert cells[2 * place : 2 * place + 2] == wanted
    loops = ('knowswap_mm', 'plain, one forward', 'official structure')
    for (_, *cells), measured in zip(
        table_with(DOCS / 'performance.md', 'task'), files, strict=True
    ):
        others = [measured.get(loop) or measured['plain, two forwards'] for loop in loops]
        assert cells == [f'{row["milliseconds"]:.1f}' for row in others]


def test_the_strongest_peer_comes_first_and_is_that_of_its_file():
    name = 'step_time_classification_bf16_compiled_peer_h200.json'
    kept = json.loads((RESULTS / name).read_text())
    ours, peer = kept['rows']
    wanted = [
        [
            f'{row["milliseconds"]:.1f}',
            f'{row["low"]:.1f} to {row["high"]:.1f}',
            f'{row["pictures"]:,.0f}',
            f'{row["memory"]:,}',
        ]
        for row in (ours, peer)
    ]
    first = tables_of(DOCS / 'performance.md')[0][1:]
    assert [cells for _, *cells in first] == wanted
    assert first[0][0].startswith(ours['loop']) and first[1][0] == peer['loop']
    text, share = (DOCS / 'performance.md').read_text(), ours['memory'] / peer['memory']
    assert f'{peer["ratio"]:.2f} times as fast, with {share:.2f} of its memory' in text
    assert ('aim was 1.4 times, and it is missed' in text) == (peer['ratio'] < 1.4)
    found = re.search(r'images in (\S+) ms .* needs (\S+) \|', (DOCS / 'recipe.md').read_text())
    assert list(found.groups()) == [cells[0] for cells in wanted]
    pairs = [
        f'{row["milliseconds"]:.1f} ms and {row["memory"]:,}' for row in (*kept['tried'], ours)
    ]
    said = 'with fp8 {} MiB, without {} MiB'.format(*pairs)
    assert said in (MEASUREMENTS / 'speed.md').read_text()


def test_the_large_model_beside_its_peer_is_that_of_its_file():
    name = 'step_time_classification_large_bf16_compiled_peer_h200.json'
    ours, peer = json.loads((RESULTS / name).read_text())['rows']
    assert (
        f'ViT-L/16 takes {ours["milliseconds"]:.1f} ms where that loop takes '
        f'{peer["milliseconds"]:.1f}, and {ours["memory"]:,} MiB where it takes '
        f'{peer["memory"]:,}: {peer["ratio"]:.2f} times as fast, with '
        f'{ours["memory"] / peer["memory"]:.2f} of its memory'
    ) in (DOCS / 'performance.md').read_text()


@pytest.mark.parametrize(('task', 'name'), zip(TASKS, ('ViT', 'DINO', 'Mask2Former'), strict=True))
def test_scaling_is_that_of_its_file(task, name):
    measured = json.loads((RESULTS / f'scale_{task}_bf16_h200.json').read_text())['rows']
    rows = next(
        rows[1:]
        for rows in tables_of(MEASUREMENTS / 'scale.md')
        if rows[0][0].startswith(name) and rows[0][1] == 'ms a step'
    )
    assert rows == [
        [
            row['name'],
            f'{row["milliseconds"]:.1f}',
            f'{1000 * row["pictures"] / row["milliseconds"]:,.0f}',
            f'{row["memory"]:,}',
            f'{row["megabytes"]:.1f}',
            *(f'{100 * row["estimate"][count]:.1f} %' for count in ('8', '64')),
        ]
        for row in measured
    ]


@pytest.mark.parametrize(('host', 'name'), [('h200x2', 'two H200'), ('h200x4', 'four H200')])
def test_several_gpus_are_those_of_their_files(host, name):
    measured = [
        json.loads((RESULTS / f'dist_train_{task}_{host}.json').read_text()) for task in TASKS
    ]
    assert all(row['equal'] for part in measured for row in part['rows'])
    assert [cells[1:] for cells in table_with(MEASUREMENTS / 'scale.md', name)] == [
        [
            str(row['processes']),
            f'{row["milliseconds"]:.1f}',
            f'{row["wait"]:.1f}',
            f'{row["memory"]:,}',
            f'{100 * row["efficiency"]:.1f} %',
            f'{part["seconds_to_end"]:.1f}' if row is part['rows'][-1] else '',
        ]
        for part in measured
        for row in part['rows']
    ]


def test_a_whole_run_is_that_of_its_file():
    measured = json.loads((RESULTS / 'end_to_end_h200.json').read_text())['rows']
    ends = {sum(row['count'] for row in measured[: i + 1]): i + 1 for i in range(len(measured))}
    begin = 0
    for (_, *cells), end in zip(
        table_with(MEASUREMENTS / 'speed.md', 'iterations', 'ms an iteration'),
        (200, 400, 1950),
        strict=True,
    ):
        span, begin = measured[begin : ends[end]], ends[end]
        count = sum(row['count'] for row in span)
        time, wait = (sum(row['count'] * row[key] for row in span) for key in ('time', 'wait'))
        wanted = f'{1000 * time / count:.1f}', f'{1000 * wait / count:.1f}'
        assert cells == [*wanted, f'{100 * wait / time:.1f} %']


def test_config_reference_has_all_keys():
    keys = {
        rows[0][0]: {row[0] for row in rows[1:]}
        for rows in tables_of(DOCS / 'config.md')
        if rows[0][0].startswith('key of')
    }
    assert keys['key of swap'] == set(swap_schedule._KEYS)
    assert keys['key of swap.classes'] == set(class_roles._KEYS)
    assert keys['key of a phase'] == set(phase_parser._KEYS)
    assert keys['key of model'] == {'type', *inspect.signature(KnowledgeSwapper).parameters}


def test_what_keeps_the_numbers_is_there():
    text = (DOCS / 'numbers.md').read_text()
    named = re.findall(r'`((?:benchmarks|weights|tools|docs)/[\w./*-]+)`', text)
    assert len(named) > 10
    for name in named:
        assert list(REPOSITORY.glob(name)), name


def test_messages_of_the_questions_are_those_of_the_code():
    text = (DOCS / 'faq.md').read_text().split('## Messages')[1].split('## ')[0]
    quoted = re.findall(r'^\*\*`(.+)`\.\*\*', text, re.MULTILINE)
    assert len(quoted) >= 3
    folders = (REPOSITORY / 'knowswap_mm', REPOSITORY / 'tools')
    code = '\n'.join(path.read_text() for f in folders for path in f.rglob('*.py'))
    for message in quoted:
        assert message in code, message
