"""docs/five_commands.md, run as it stands, each section by itself."""

import json
import re

import pytest

from tests.helpers.doc_blocks import (
    DOCS,
    blocks_of,
    stand_in_for_a_clone,
    tables_of,
)
from tests.helpers.forked import fork_block, prepared_for_forks

#: A machine that is busy with other work may need minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PAGE = DOCS / 'five_commands.md'
SECTIONS = ('A classifier', 'A detector', 'A segmentor')


def blocks_of_section(title):
    lines = PAGE.read_text(encoding='utf-8').splitlines()
    begin = lines.index(f'## {title}') + 1
    end = next(n for n in range(begin + 1, len(lines)) if lines[n].startswith('## '))
    return [each for each in blocks_of(PAGE) if begin < each.line <= end]


@pytest.fixture(scope='module')
def walked(tmp_path_factory):
    """The folder after the commands of a section, and what all of them said."""
    done = {}

    def walk(title):
        if title not in done:
            folder = stand_in_for_a_clone(tmp_path_factory.mktemp('five'))
            said = []
            for block in blocks_of_section(title):
                assert block.language == 'bash', block
                said.append(fork_block(block, folder))
            done[title] = folder, said
        return done[title]

    with prepared_for_forks():
        yield walk


@pytest.mark.parametrize('title', SECTIONS)
def test_no_file_is_edited(title):
    text = '\n'.join(block.text for block in blocks_of_section(title))
    assert not [block for block in blocks_of_section(title) if block.file]
    programs = re.findall(r'^(\S+)', text, re.MULTILINE)
    assert set(programs) == {'python', 'knowswap'}
    found = re.findall(r'^knowswap (\w+)', text, re.MULTILINE)
    assert [name for name in found if name != 'data'] == [
        'predict', 'swap', 'report', 'export', 'predict',
    ]  # fmt: skip


@pytest.mark.parametrize('title', SECTIONS)
def test_it_is_swapped_reported_exported_and_predicted(title, walked):
    folder, said = walked(title)
    (run,) = (folder / 'work_dirs').iterdir()
    for name in ('config.py', 'config_resolved.py', 'report.html', 'phase2_forget.pth'):
        assert (run / name).is_file(), name
    assert (folder / 'exported' / 'model.pth').is_file()
    seen = [
        json.loads((folder / 'seen' / when / 'predictions.json').read_text())
        for when in ('before', 'after')
    ]
    before, after = (set(each['classes']) for each in seen)
    learned = set(json.loads((run / 'schedule.json').read_text())['classes']['learn'])
    assert learned and after - before == learned
    assert [i['image'] for i in seen[0]['images']] == [i['image'] for i in seen[1]['images']]
    told = ''.join(said)
    assert 'What trains: adapters with ' in told and 'Time: about ' in told


def test_the_classifier_ends_as_the_page_says(walked):
    """Within 15 points, of 90 images to learn: machines add in other orders."""
    folder, _ = walked('A classifier')
    results = json.loads((folder / 'work_dirs' / 'shapes' / 'swap_results.json').read_text())
    head, *rows = next(table for table in tables_of(PAGE) if table[0][0] == 'state')
    assert [row[0] for row in rows] == list(results['states'])
    for state, *cells in rows:
        metrics = results['states'][state]['metrics']
        for role, cell in zip(head[1:], cells, strict=True):
            assert metrics[f'{role}/accuracy/top1'] == pytest.approx(float(cell), abs=15), role


def test_the_answers_of_the_classifier_are_as_the_page_says(walked):
    folder, _ = walked('A classifier')
    answers = {}
    for when in ('before', 'after'):
        told = json.loads((folder / 'seen' / when / 'predictions.json').read_text())['images']
        answers[when] = [each['answers'][0]['label'] for each in told]
    assert answers['before'][0] == 'triangle' and answers['before'][1] != 'heart'
    assert answers['after'][0] != 'triangle' and answers['after'][1] == 'heart'
