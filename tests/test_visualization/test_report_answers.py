"""What a reader of the report asks first: of what it is, what to change, what is weak."""

import json
import re

from knowswap_mm.visualization.report import Report
from knowswap_mm.visualization.report.blocks import Table
from tests.helpers.pages import Page


def numbers_of(folder):
    return json.loads((folder / 'report.json').read_text())


def test_model_data_and_date_come_first(run, copied):
    about = numbers_of(run)['about']
    assert list(about) == ['Model', 'Weights', 'Data', 'Classes', 'Date']
    assert about['Model'] == 'ImageClassifier with VisionTransformer'
    assert about['Classes'].startswith('2 learn (24 training images), 1 forget (')
    started = json.loads((run / 'starts.json').read_text())[0]['started']
    assert about['Date'].startswith(started[:16].replace('T', ' '))
    text = (run / 'report.html').read_text()
    head = text[text.index('<header>') : text.index('</header>')]
    assert all(each in head for each in about.values())
    assert (run / 'report.md').read_text().splitlines()[2].startswith('- Model: ImageClassifier')
    record = json.loads((copied / 'run.json').read_text())
    for damaged in (dict(model=['<b>'], data=7), 5, None):
        (copied / 'run.json').write_text(json.dumps(record | dict(about=damaged)))
        assert list(Report.of_run(copied).about) == ['Config', 'Classes', 'Date']


def test_what_to_change_stands_under_the_verdict(copied):
    """Before anything else, whatever became of the run; the rest is told after it."""
    results = json.loads((copied / 'swap_results.json').read_text())
    results['states']['phase2_forget']['metrics']['retain/accuracy/top1'] = 1.0
    (copied / 'swap_results.json').write_text(json.dumps(results))
    Report.of_run(copied).write()
    banner, change = numbers_of(copied)['answer'][:2]
    assert banner['verdict'] == 'no' and len(banner['parts']) == 3
    assert any(text.startswith('retain fell from') for text in change['What to change'])
    page = Page((copied / 'report.html').read_text())
    assert page.problems == []
    text = page.text
    assert text.index('It did not work') < text.index('What to change') < text.index('The classes')


def test_new_answers_and_weak_classes_are_named(copied):
    results = json.loads((copied / 'swap_results.json').read_text())
    state = results['states']['phase2_forget']
    assert set(state['answers']) == {'learn', 'forget', 'retain'}  # as the run has written it
    entry = state['answers']['forget']['b']
    assert sum(entry['answers'].values()) == entry['units'] > 0
    state['answers']['forget']['b'] = dict(units=50, answers={'<i>': 42, 'c': 8})
    state['answers']['retain']['d'] = dict(units=50, answers=dict(d=10, e=40))
    values = dict(a=90.0, c=80.0, d=20.0, e=70.0)
    state['metrics'].update({f'retain/class/{name}': value for name, value in values.items()})
    (copied / 'swap_results.json').write_text(json.dumps(results))
    Report.of_run(copied).write()
    numbers = numbers_of(copied)
    (happened,) = [e['What happened'] for e in numbers['answer'] if 'What happened' in e]
    assert happened[0] == 'Forgotten b is called <i> in 84 %, c in 16 %.'
    tables = [each for each in numbers['phases'] if isinstance(each, dict)]
    (weak,) = [each for each in tables if 'called instead' in each.get('header', ())]
    (row,) = [row for row in weak['rows'] if row[1] == 'retain']
    assert row[0] == 'd' and row[3:] == [20.0, 80.0, 'e (80%)']
    assert 'Weak spots' in (copied / 'report.md').read_text()


def test_a_forgotten_sample_counts_as_a_success(copied):
    """After a forget phase; before it, and for the other roles, right is right."""
    path = copied / 'pictures' / 'pictures.json'
    index = json.loads(path.read_text())
    place = [n for n, sample in enumerate(index['samples']) if sample['role'] == 'forget']
    for state in index['states']:
        for number, right in zip(place, (False, True, True, None), strict=True):
            state['predictions'][number]['right'] = right
    path.write_text(json.dumps(index))
    Report.of_run(copied).write()
    galleries = {e['label']: e for e in numbers_of(copied)['samples'] if isinstance(e, dict)}
    forget = galleries['Samples of the role forget']['samples']
    assert [each['after'].get('forgotten') for each in forget] == [True, False, False, None]
    others = [galleries[f'Samples of the role {role}']['samples'] for role in ('learn', 'retain')]
    assert not any('forgotten' in s['after'] for samples in others for s in samples)
    assert not any('forgotten' in each['before'] for each in forget)
    (between,) = [e for e in numbers_of(copied)['samples'] if isinstance(e, list)]
    (every,) = [e['samples'] for e in between if e['label'].endswith('forget')]
    assert not any('forgotten' in each['phase1_learn'] for each in every)
    text = (copied / 'report.html').read_text()
    assert text.count('✓&nbsp;forgotten') == 2 and text.count('✗&nbsp;still known') == 4
    markdown = (copied / 'report.md').read_text()
    assert markdown.count('(forgotten, as wanted)') == 2 and markdown.count('(still known)') == 4


def test_long_cells_have_room(run):
    """A table wider than a phone scrolls within its box, and its first column stays in sight."""
    text = (run / 'report.html').read_text()
    tables = re.findall(r'<div class="scroll"[^>]*>\s*<table>', text)
    assert len(tables) == text.count('<table>')
    assert 'position: sticky' in text and 'td.long:not(.number)' in text
    table = Table('plan', ['key', 'from'], [['a', 'x ' * 40], ['b', 'short']])
    html = str(table.html())
    assert html.count('class="long"') == 1
