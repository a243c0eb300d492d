"""The page in a real browser, if there is one: pip install -r requirements/browser.txt."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from knowswap_mm.visualization.report import Report

SCRIPT = Path(__file__).parents[1] / 'helpers' / 'browser.py'
#: Another interpreter may have the browser.
PYTHON = os.environ.get('BROWSER_PYTHON', sys.executable)
THERE = PYTHON != sys.executable or importlib.util.find_spec('PyQt6') is not None
pytestmark = pytest.mark.skipif(not THERE, reason='needs requirements/browser.txt')


def look(page, *options):
    done = subprocess.run(
        [PYTHON, str(SCRIPT), str(page), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1000, 400])
def test_nothing_overlaps(run, width, scheme):
    found = look(run / 'report.html', '--width', width, '--scheme', scheme, '--open')
    assert found['problems'] == []
    on_demand = (run / 'report.html').read_text().count('<details>')
    assert found['images'] == 24 and found['opened'] == on_demand > 0
    assert found['reached'] == found['expected'] > 20
    bright, dark = (
        max(found['background'], found['colour']),
        min(found['background'], found['colour']),
    )
    assert bright == (found['background'] if scheme == 'light' else found['colour'])
    assert min(bright) > 200 and max(dark) < 60


def test_a_hostile_page_runs_nothing(hostile):
    folder, _ = hostile
    found = look(Report.of_run(folder).write(), '--open', '--width', 400)
    assert [each for each in found['problems'] if 'leaves the page' in each] == []
    assert found['images'] > 0
