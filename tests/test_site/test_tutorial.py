"""The tutorial, run as it stands by somebody who has nothing but the page."""

import json
import re

import pytest

from tests.helpers.doc_blocks import (
    DOCS,
    blocks_of,
    run_block,
    stand_in_for_a_clone,
    tables_of,
)

#: A machine that is busy with other work may need minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PAGE = DOCS / 'tutorial.md'


@pytest.fixture(scope='module')
def walked(tmp_path_factory):
    """The folder after all steps, and what the last command said."""
    folder = stand_in_for_a_clone(tmp_path_factory.mktemp('tutorial'))
    said = ''
    for block in blocks_of(PAGE):
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == 'bash':
            said = run_block(block, folder)
    return folder, said


def test_the_pictures_are_jpegs_in_folders_of_classes(walked):
    folder, _ = walked
    for picture in ('my_old/train/apple/0.jpg', 'my_new/val/carrot/14.jpg'):
        assert (folder / 'data' / picture).read_bytes()[:3] == b'\xff\xd8\xff'


def test_the_swap_ends_as_the_page_says(walked):
    """Within 15 points, five of the 30 learn images: machines add in other orders."""
    folder, _ = walked
    results = json.loads((folder / 'work_dirs' / 'my_swap' / 'swap_results.json').read_text())
    (table,) = tables_of(PAGE)
    head, *rows = table
    assert [row[0] for row in rows] == list(results['states'])
    for state, *cells in rows:
        metrics = results['states'][state]['metrics']
        for role in ('learn', 'forget', 'retain'):
            said = float(cells[head.index(role) - 1])
            assert metrics[f'{role}/accuracy/top1'] == pytest.approx(said, abs=15), (state, role)


def test_the_report_is_one_page_with_a_verdict(walked):
    folder, _ = walked
    text = (folder / 'work_dirs' / 'my_swap' / 'report.html').read_text()
    assert 'Did it work?' in text
    assert 'blueberry' in text and 'lemon' in text
    assert (folder / 'work_dirs' / 'my_swap' / 'report.md').is_file()


def test_the_export_answers_as_the_page_says(walked):
    _, said = walked
    answers = dict(re.findall(r'val/(\w+)/0\.jpg is called (\w+)', said))
    assert answers['carrot'] == 'carrot'
    assert answers['plum'] == 'plum'
    assert answers['lemon'] not in ('lemon', '')
