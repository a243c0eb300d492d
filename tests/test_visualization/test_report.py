"""The report of a run: whole, true, and safe whatever the files of the run say."""

import json
import re
import subprocess
import sys

import pytest

from knowswap_mm.audit.attacks.similarity import TITLE
from knowswap_mm.errors import ConfigError
from knowswap_mm.visualization.report import Report
from tests.helpers.pages import Page
from tests.helpers.swap_configs import train

SECTIONS = ['answer', 'phases', 'samples', 'losses', 'where', 'data', 'cost', 'configuration']


@pytest.fixture
def tool(analysis_tool):
    return analysis_tool('report')


@pytest.fixture(scope='module')
def page(run):
    return Page((run / 'report.html').read_text())


def numbers_of(folder):
    return json.loads((folder / 'report.json').read_text())


def test_all_three_are_written_and_made_again_alike(run, tool, tmp_path, capsys):
    tool(run, '--out', tmp_path)
    assert capsys.readouterr().out.strip() == str(tmp_path / 'report.html')
    for name in ('report.html', 'report.md', 'report.json'):
        assert (tmp_path / name).read_text() == (run / name).read_text()


def test_the_page_is_well_formed(page):
    assert page.problems == []
    ids = page.attributes('id')
    assert len(ids) == len(set(ids))
    inside = [link for link in page.attributes('href') if link.startswith('#')]
    assert inside and {link[1:] for link in inside} <= set(ids)
    assert [a['id'] for a in page.of('h2')] == SECTIONS
    assert len(page.of('h1')) == 1 and page.of('html')[0]['lang'] == 'en'


def test_the_page_needs_no_network_and_no_script(page, run):
    text = (run / 'report.html').read_text()
    assert not page.of('script') and not page.of('link') and not page.of('iframe')
    assert all(each['src'].startswith('data:image/webp;base64,') for each in page.of('img'))
    links = page.attributes('href') + page.attributes('xlink:href')
    assert all(link.startswith('#') for link in links)
    assert set(re.findall(r'url\(([^)]{1,4})', text)) <= {'#rol', '#ter', '#blo', '#ste', '#lea'}
    (policy,) = [a['content'] for a in page.of('meta') if 'http-equiv' in a]
    assert "default-src 'none'" in policy and 'script' not in policy


def test_the_page_can_be_read_without_eyes_or_mouse(page):
    plots = page.of('svg')
    assert len(plots) == 6
    assert all(each['role'] == 'img' and len(each['aria-label']) > 20 for each in plots)
    pictures = page.of('img')
    # 3 roles of 4 samples; here no prediction has an image of its own.
    assert len(pictures) == 24 and all(each['alt'].startswith('truth: ') for each in pictures)
    scrolling = [a for _, a in page.elements if a.get('class') == 'scroll']
    assert all(a['tabindex'] == '0' and a['aria-label'] for a in scrolling)
    viewport = [a['content'] for a in page.of('meta') if a.get('name') == 'viewport']
    assert viewport == ['width=device-width, initial-scale=1']


def test_plots_have_the_colours_of_the_page(run):
    text = (run / 'report.html').read_text()
    plots = ''.join(re.findall(r'<svg.*?</svg>', text, re.DOTALL))
    found = set(re.findall(r'(?:fill|stroke): (#\w+)', plots))
    assert found <= {'#000000', '#ffffff'}, found  # none that only one theme can show
    assert 'var(--learn)' in plots and 'currentColor' in plots
    style = re.search(r'<style>(.*?)</style>', text, re.DOTALL).group(1)
    light, dark = style.split('prefers-color-scheme: dark')
    for name in re.findall(r'var\(--(\w+)\)', plots):
        assert f'--{name}:' in light and f'--{name}:' in dark


def test_numbers_are_those_of_the_run(run):
    numbers = numbers_of(run)
    states = json.loads((run / 'swap_results.json').read_text())['states']
    table = next(each for each in numbers['phases'] if 'H-mean' in each.get('header', ()))
    for (name, state), row in zip(states.items(), table['rows'], strict=True):
        wanted = [state['metrics'][f'{r}/accuracy/top1'] for r in ('learn', 'forget', 'retain')]
        assert row[:5] == [name, state['iteration'], *wanted]
    curve = next(each for each in numbers['phases'] if each.get('figure') == 'roles')
    assert [step for step, _ in curve['learn']] == [0, 6, 11]
    (by_class,) = [each for each in numbers['phases'] if isinstance(each, list)]
    assert [row[0] for row in by_class[0]['rows']] == ['x', 'y']
    assert by_class[0]['caption'].startswith('learn: class/*')
    for name in ('x', 'y'):
        row = next(row for row in by_class[0]['rows'] if row[0] == name)
        assert row[-1] == states['phase2_forget']['metrics'][f'learn/class/{name}']
    logged = [json.loads(line) for line in next(run.glob('*/vis_data/scalars.json')).open()]
    losses = next(each for each in numbers['losses'] if each.get('figure') == 'role-losses')
    assert losses['forget'] == [[e['step'], e['forget/raw']] for e in logged if 'forget/raw' in e]
    bound = next(each for each in numbers['losses'] if 'bound' in each.get('header', ()))
    assert bound['rows'][0][:2] == ['phase2_forget', 105.0]


def test_command_config_and_cost_are_told(run, page):
    entry = json.loads((run / 'starts.json').read_text())[0]
    assert entry['iteration'] == 0 and entry['seconds'] > 0 and entry['host_memory'] > 100
    assert entry['command'] in page.text and entry['versions']['torch'] in page.text
    assert 'KnowledgeSwapper' in page.text and '11' in page.text


def test_markdown_links_to_the_pictures(run):
    text = (run / 'report.md').read_text()
    links = re.findall(r'\]\((pictures/[^)]+)\)', text)
    assert len(links) == 24 and all((run / link).is_file() for link in links)
    assert '| state | iteration | learn | forget | retain | H-mean |' in text


def test_hostile_names_stay_text(hostile):
    folder, names = hostile
    Report.of_run(folder).write()
    text = (folder / 'report.html').read_text()
    page = Page(text)
    assert page.problems == []
    assert not page.of('script')
    assert not [a for _, a in page.elements if any(key.startswith('on') for key in a)]
    assert names[0] in page.text and names[1] in page.text
    assert all(each['src'].startswith('data:image/webp') for each in page.of('img'))
    assert 'http://x' not in text and 'bm90IHlvdXJz' not in text  # base64 of the secret
    assert not [s for s in page.attributes('style') if 'red' in s or '<' in s]
    markdown = (folder / 'report.md').read_text()
    outside = '\n'.join(line for line in markdown.splitlines() if not line.startswith('    '))
    assert '<script' not in outside and '<img' not in outside
    assert r'a\|b\`c' in outside


@pytest.mark.parametrize(
    'name', ['block_profile.json', 'pictures/pictures.json', 'schedule.json', 'starts.json']
)
def test_a_broken_file_costs_its_part_only(name, copied):
    (copied / name).write_text('{"states": [')
    Report.of_run(copied).write()
    text = (copied / 'report.html').read_text()
    assert Page(text).problems == []
    if name != 'starts.json':
        assert f'Left out: {name} cannot be read' in text
    assert 'phase2_forget' in text


@pytest.mark.parametrize('missing', ['*/vis_data/*.*', '*.json', '*.py', 'pictures/*'])
def test_missing_files_cost_their_part_only(missing, copied):
    for path in copied.glob(missing):
        if path.name != 'swap_results.json':
            path.unlink()
    Report.of_run(copied).write()
    text = (copied / 'report.html').read_text()
    assert Page(text).problems == [] and 'phase2_forget' in text
    if 'vis_data' in missing:
        assert 'No scalars were logged' in text


def test_a_killed_run_is_not_judged(copied):
    results = json.loads((copied / 'swap_results.json').read_text())
    del results['states']['phase2_forget']
    (copied / 'swap_results.json').write_text(json.dumps(results))
    (scalars,) = copied.glob('*/vis_data/scalars.json')
    scalars.write_text(scalars.read_text()[:-30])
    Report.of_run(copied).write()
    (banner,) = [e for e in numbers_of(copied)['answer'] if 'verdict' in e]
    assert banner['verdict'] == 'unknown'
    assert banner['headline'] == 'Not finished: evaluated last at iteration 6 of 11.'


@pytest.mark.parametrize('text', [None, '{', '[]', '{"states": {}}', '{"schedule": {"phases": 3}}'])
def test_what_is_no_run_is_refused(text, tmp_path, tool):
    if text is not None:
        (tmp_path / 'swap_results.json').write_text(text)
    with pytest.raises(ConfigError, match=r'swap_results\.json.*Fix: name the work dir'):
        Report.of_run(tmp_path)
    with pytest.raises(SystemExit, match='ConfigError: WORK_DIR'):
        tool(tmp_path)
    assert not list(tmp_path.glob('report*'))


def test_a_report_needs_no_torch(copied):
    code = (
        'import sys; from knowswap_mm.visualization.report import Report\n'
        'Report.of_run(sys.argv[1]).write()\n'
        "print(sorted({'torch', 'peft', 'transformers', 'mmcv'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, '-c', code, str(copied)], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr[-2000:] or done.stdout
    assert (copied / 'report.html').is_file()


def test_out_is_for_one_run(tool, tmp_path):
    with pytest.raises(SystemExit, match='--out = .*is for a single run'):
        tool(tmp_path, tmp_path, '--out', tmp_path)


def test_a_report_that_fails_loses_no_run(seen_config, tmp_path, monkeypatch, caplog):
    def fail(self, folder=None):
        raise OSError('the disk is full')

    monkeypatch.setattr(Report, 'write', fail)
    runner, _ = train(seen_config(tmp_path / 'run'))
    assert runner.iter == 11
    assert (tmp_path / 'run' / 'adapter').is_dir()
    assert (tmp_path / 'run' / 'phase2_forget.pth').is_file()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'The report was not written (OSError: the disk is full). The run itself is whole.' in log


def test_a_resumed_run_has_one_report(run, seen_config, tmp_path):
    folder = tmp_path / 'run'
    config = seen_config(folder)
    config.default_hooks.checkpoint.interval = 4
    config.custom_hooks = [dict(type='tests.helpers.stops.StopAt', iteration=9)]
    config.custom_imports.imports.append('tests.helpers.stops')
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert not (folder / 'report.html').exists()
    config = seen_config(folder)
    config.resume, config.load_from = True, str(folder / 'iter_8.pth')
    train(config)
    ours, theirs = numbers_of(folder), numbers_of(run)
    for section in ('answer', 'phases', 'samples', 'losses'):
        assert ours[section] == theirs[section], section
    where = [next(e for e in n['where'] if 'rows' in e) for n in (ours, theirs)]
    assert where[0] == where[1]
    assert len(json.loads((folder / 'starts.json').read_text())) == 2


def test_audits_are_taken_in(copied):
    value = dict(value=0.5, low=0.4, high=0.6)
    audit = dict(
        headline='Not forgotten: recovered by relearning.',
        plain='Anyone can have it back.',
        warnings=['There is one reference alone.'],
        references=dict(title='References', text='Sound?', header=['model'], rows=[['mine']]),
        curves=[
            dict(
                attack='linear probe',
                statistic='share',
                places=['backbone.layers.0', 'head'],
                by_model=dict.fromkeys(('before', 'after', 'reference'), [value, value]),
            )
        ],
        about={},
        findings=[
            dict(
                attack='relearning',
                statistic='accuracy',
                before=dict(value=0.9, low=0.8, high=0.95),
                after=dict(value=0.7, low=0.6, high=None),
                floor=dict(value=0.5, low=0.5, high=0.5),
                verdict='recovered',
                remark='',
                meaning='a little training brings it back',
            )
        ],
        tables=[
            dict(title='Drift', text='How far.', header=['block', 'x'], rows=[['a', 0.123]]),
            dict(
                title=TITLE,
                text='How alike.',
                header=['block', 'after, learn', 'after, forget', 'reference, forget'],
                rows=[
                    ['backbone.layers.0', 0.99, None, 0.4],
                    ['backbone.layers.1', 0.9, 0.25, 0.4],
                ],
            ),
        ],
    )
    for name in ('audit/phase1_learn', 'audit/phase2_forget'):
        (copied / name).mkdir(parents=True)
        (copied / name / 'audit.json').write_text(json.dumps(audit))
    Report.of_run(copied).write()
    page = Page((copied / 'report.html').read_text())
    assert page.problems == [] and 'audit' in page.attributes('id')
    for text in ('audit/phase1_learn', '0.700 [0.600, ?]', '0.123', 'Audit: Not forgotten'):
        assert text in page.text
    for text in ('Anyone can have it', 'one reference alone', 'a little training', 'mine'):
        assert text in page.text
    curves = [svg['aria-label'] for svg in page.of('svg') if 'from each block' in svg['aria-label']]
    assert len(curves) == 2 and curves[0].endswith('by: linear probe.')
    assert 'for an audit to say' not in page.text
    plots = [svg['aria-label'] for svg in page.of('svg') if 'Alignment' in svg['aria-label']]
    assert len(plots) == 2 and plots[0].endswith('Lowest: learn 0.90, forget 0.25.')


def test_what_is_left_out_of_the_data_is_shown(copied, tool):
    """Counts by role and class, and the reasons; damaged counts are told."""
    record = json.loads((copied / 'run.json').read_text())
    counts = dict(
        samples=2, fraction=1.0, unit='objects', left_out={"with objects of '<b>'": 78},
        other={'boxes outside their images or below one pixel': 4},
        classes=dict(cat=2), available=dict(cat=80), objects=dict(cat=3),
    )  # fmt: skip
    record['roles']['learn'] = counts
    (copied / 'run.json').write_text(json.dumps(record))
    tool(copied)
    found = Page((copied / 'report.html').read_text())
    assert found.problems == [] and 'data' in [a['id'] for a in found.of('h2')]
    text = (copied / 'report.md').read_text()
    assert '| learn | 2 | 1 | 78 | 3 objects |' in text
    assert '| cat | learn | 80 | 2 | 3 objects |' in text
    assert 'boxes outside their images or below one pixel | 4' in text
    for damaged in ([5], dict(unit='objects'), dict(counts, classes=[1]), 'x'):
        record['roles']['learn'] = damaged
        (copied / 'run.json').write_text(json.dumps(record))
        tool(copied)
        assert 'run.json cannot be read' in (copied / 'report.md').read_text()
