"""What the documentation promises: its files exist."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').rglob('*.md'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text())
    for link in links:
        assert link.startswith('https://') or (page.parent / link).exists(), link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    text = page.read_text()
    named = set(re.findall(r'\b(?:configs|tools|benchmarks|weights)/[\w./*-]+\.(?:py|sh)', text))
    for name in named:
        assert list(REPOSITORY.glob(name)), name


def test_make_targets_exist():
    makefile = (REPOSITORY / 'Makefile').read_text()
    text = (REPOSITORY / 'README.md').read_text()
    targets = set(re.findall(r'\bmake ([a-z]+)\b(?= | `|`|,|$)', text))
    assert targets
    for target in targets:
        assert re.search(rf'^{target}:', makefile, re.MULTILINE), target
