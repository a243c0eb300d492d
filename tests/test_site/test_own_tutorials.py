"""The tutorials for detectors and segmentors, run as they stand."""

import json
import re

import pytest

from tests.helpers.doc_blocks import DOCS, blocks_of, stand_in_for_a_clone, tables_of
from tests.helpers.forked import fork_block, prepared_for_forks

#: A machine that is busy with other work may need minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RUNS = dict(detector='boxes', segmentor='masks')
NEW = {'t-shape', 'u-shape', 'hourglass', 'zigzag'}


def page_of(task):
    return DOCS / f'tutorial_{task}.md'


@pytest.fixture(scope='module', params=list(RUNS))
def walked(request, tmp_path_factory):
    """The page, the folder after all of its steps, and what each block of commands said."""
    folder = stand_in_for_a_clone(tmp_path_factory.mktemp(request.param))
    said = []
    with prepared_for_forks():
        for block in blocks_of(page_of(request.param)):
            if block.file:
                (folder / block.file).write_text(block.text)
            elif block.language == 'bash':
                said.append(fork_block(block, folder))
    return request.param, folder, said


def run_of(task, folder):
    return folder / 'work_dirs' / RUNS[task]


def test_the_plan_is_that_of_the_page(walked):
    task, _, said = walked
    table = next(table for table in tables_of(page_of(task)) if table[0][0] == 'role')
    (plan,) = (text for text in said if 'training images' in text)
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in plan.splitlines()]
    for row in table:
        assert row in cells


def test_the_swap_has_a_report_with_what_to_change(walked):
    task, folder, _ = walked
    run = run_of(task, folder)
    results = json.loads((run / 'swap_results.json').read_text())
    assert list(results['states']) == ['start', 'phase1_learn', 'phase2_forget']
    page = (run / 'report.html').read_text()
    for words in ('Did it work?', 'What it was trained on', 'zigzag', 'swap.phases.0.iters'):
        assert words in page
    classes = json.loads((run / 'schedule.json').read_text())['classes']
    assert set(classes['learn']) == NEW and classes['forget'] == ['star', 'heart']


def test_the_data_is_checked_and_shown(walked):
    task, folder, _ = walked
    assert (folder / 'seen' / RUNS[task] / 'contact_sheet.jpg').is_file()
    assert len(list((run_of(task, folder) / 'data' / 'learn' / 'train').rglob('*.png'))) >= 60


def test_the_export_answers_with_the_new_classes(walked):
    """Of the library alone, of ours, and not before the swap."""
    task, folder, said = walked
    before, after = (
        json.loads((folder / 'seen' / when / 'predictions.json').read_text())
        for when in ('before', 'after')
    )
    assert set(after['classes']) - set(before['classes']) == NEW
    images = [each['image'] for each in after['images']]
    assert images and images == [each['image'] for each in before['images']]
    told = dict(re.findall(r'^(\S+\.png) shows (?:most of all )?([\w-]+) ', said[-1], re.MULTILINE))
    assert sorted(told) == sorted(images)
    best = {each['image']: each['answers'][:1] for each in after['images']}
    for image, name in told.items():  # of boxes, ours are those from a confidence of 0.3 on
        assert not best[image] or best[image][0]['label'] == name
