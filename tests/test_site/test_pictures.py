"""The images of the pages: small, described in words, and made by what the pages say."""

import json
import re
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.doc_blocks import DOCS, REPOSITORY

PAGES = [REPOSITORY / 'README.md', *sorted(DOCS.rglob('*.md'))]
IMAGES = sorted(path for path in (DOCS / 'images').iterdir() if path.name != 'LICENSE.txt')


def shown():
    """Words and file of each image of the pages."""
    for page in PAGES:
        for words, file in re.findall(r'!\[([^\]]*)\]\(([^)]+)\)', page.read_text()):
            yield page, words, (page.parent / file).resolve()


def test_each_picture_has_words_for_those_who_do_not_see_it():
    assert {file for _, _, file in shown()} == set(IMAGES)
    for page, words, _ in shown():
        assert len(words.split()) >= 6, (page.name, words)


@pytest.mark.parametrize('path', IMAGES, ids=lambda path: path.name)
def test_pictures_are_small(path):
    assert path.stat().st_size < 200_000


def texts(svg):
    return re.findall(r'<text [^>]*>([^<]+)</text>', svg)


def test_concepts_are_drawn_by_their_script(tmp_path, monkeypatch, capsys):
    """The same words and the same curves; other versions of matplotlib may write other numbers."""
    monkeypatch.setattr(sys, 'argv', ['concepts.py', '--out', str(tmp_path / 'drawn.svg')])
    runpy.run_path(str(DOCS / 'scripts' / 'concepts.py'), run_name='__main__')
    drawn, kept = ((p).read_text() for p in (tmp_path / 'drawn.svg', DOCS / 'images/concepts.svg'))
    assert texts(drawn) == texts(kept)
    curves = [re.findall(r'd="(M [^"]+)" clip-path', svg) for svg in (drawn, kept)]
    points = [np.array(re.findall(r'-?[\d.]+', ' '.join(each)), float) for each in curves]
    assert len(points[0]) >= 18  # three points of three roles
    np.testing.assert_allclose(points[0], points[1], atol=2)


def test_concepts_have_a_ground_of_their_own():
    """So they read in dark themes, too."""
    svg = (DOCS / 'images' / 'concepts.svg').read_text()
    ground = re.search(r'id="patch_1">\s*<path d="M 0 [\d.]+ [^"]*" style="fill: (#\w+)', svg)
    assert ground.group(1) == '#ffffff'


@pytest.mark.parametrize('drawn', [True, False])
def test_before_after_shows_first_and_last_state(drawn, tmp_path, monkeypatch, capsys):
    """A detector's image with each state's boxes; a classifier's once, with both answers."""
    folder = tmp_path / 'run' / 'pictures'
    folder.mkdir(parents=True)
    colours = dict(start=(255, 0, 0), phase1_learn=(0, 0, 255), phase2_forget=(0, 255, 0))
    samples, states = [], []
    for number, role in enumerate(('learn', 'forget', 'retain')):
        samples.append(dict(role=role, index=number, truth=dict(caption='a', file='start.webp')))
    for state, colour in colours.items():
        Image.new('RGB', (32, 32), colour).save(folder / f'{state}.webp', lossless=True)
        predictions = [dict(caption='b', file=f'{state}.webp' if drawn else None) for _ in samples]
        states.append(dict(state=state, iteration=0, predictions=predictions))
    (folder / 'pictures.json').write_text(json.dumps(dict(samples=samples, states=states)))
    out = tmp_path / 'drawn.png'
    words = ['before_after.py', str(folder.parent), '--samples', '0', '2', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', words)
    runpy.run_path(str(DOCS / 'scripts' / 'before_after.py'), run_name='__main__')
    pixels = np.asarray(Image.open(out).convert('RGB')).astype(int)
    half = len(pixels) // 2
    red, green, blue = (
        (abs(pixels - colour) < 40).all(-1) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    )
    assert red[:half].sum() > 10_000
    if not drawn:
        assert not green.any() and not blue.any()
        return
    assert not red[half:].any()
    assert green[half:].sum() > 10_000 and not green[:half].any()
    assert not blue.any()


def test_before_after_needs_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['before_after.py', str(tmp_path), '--samples', '0'])
    with pytest.raises(SystemExit, match='name the folder of a run'):
        runpy.run_path(str(DOCS / 'scripts' / 'before_after.py'), run_name='__main__')
