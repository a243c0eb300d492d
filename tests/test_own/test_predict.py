"""``knowswap predict``: what a run, an export and a plain model say of images."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from knowswap_mm.cli.main import main
from knowswap_mm.own import predict
from tests.helpers.swap_configs import OLD

SLOW = [pytest.mark.slow, pytest.mark.timeout(600)]
TASKS = ['mmpretrain', *(pytest.param(task, marks=SLOW) for task in ('mmdet', 'mmseg'))]


def seen(*arguments, out):
    main(['predict', *map(str, arguments), '--out', str(out), '--device', 'cpu'])
    return json.loads((out / 'predictions.json').read_text(encoding='utf-8'))


def images_of(swapped, task):
    """Some of the run's own: names with spaces, grey, RGBA, two forms of one ending."""
    data = swapped(task) / 'data' / 'learn'
    found = [p for p in sorted(data.glob('t*/**/*')) if p.parent.name != 'annotations']
    return [p for p in found if p.suffix.lower() in ('.png', '.jpg')][:5]


@pytest.mark.parametrize('task', TASKS)
def test_an_export_says_what_the_run_says(task, swapped, tmp_path):
    run, images = swapped(task), images_of(swapped, task)
    first = seen(run, *images, '--score', 0, out=tmp_path / 'run')
    state = str(run / 'phase2_forget.pth')
    main(['export', str(run / 'config.py'), state, '--out', str(tmp_path / 'exported')])
    second = seen(tmp_path / 'exported', *images, '--score', 0, out=tmp_path / 'export')
    assert first['classes'] == second['classes']
    for one, other in zip(first['images'], second['images'], strict=True):
        assert one['image'] == other['image'] and one['answers']
        for a, b in zip(one['answers'], other['answers'], strict=True):
            key = 'share' if task == 'mmseg' else 'score'
            assert a[key] == pytest.approx(b[key], abs=2e-3)


@pytest.mark.parametrize('task', TASKS)
def test_what_is_drawn(task, swapped, tmp_path):
    """Boxes and masks as files, a sheet of all, and maps with the number of the class."""
    images = images_of(swapped, task)
    told = seen(swapped(task), *images, '--score', 0, out=tmp_path / 'out')
    sheet = np.asarray(Image.open(tmp_path / 'out' / 'contact_sheet.jpg'))
    assert sheet.shape[1] == 5 * 192 and sheet.std() > 5
    for entry, path in zip(told['images'], images, strict=True):
        drawn = entry.get('drawn')
        assert bool(drawn) == (task != 'mmpretrain')
        if drawn:
            width, height = Image.open(tmp_path / 'out' / drawn).size
            assert width == 640 and (height > 640) == (task == 'mmseg')  # a legend of its masks
        if task == 'mmseg':
            values = np.asarray(Image.open(tmp_path / 'out' / entry['mask']))
            assert values.shape[::-1] == Image.open(path).size
            best = entry['answers'][0]
            share = (values == told['classes'].index(best['label'])).mean()
            assert share == pytest.approx(best['share'], abs=1e-4)


@pytest.mark.parametrize('task', TASKS)
def test_an_image_is_decoded_to_be_checked_and_to_be_used(task, swapped, tmp_path, monkeypatch):
    """What is drawn on is what the model was shown: pixels of the first file show it."""
    run, images = swapped(task), images_of(swapped, task)
    decoded, shown = [], []
    for owner, name in ((cv2, 'imdecode'), (cv2, 'imread'), (ImageFile.ImageFile, 'load')):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, real=real: decoded.append(1) or real(*a))
    real_sheet = predict.contact_sheet
    monkeypatch.setattr(predict, 'contact_sheet', lambda s: shown.extend(s) or real_sheet(s))
    seen(run, *images, out=tmp_path / 'out')
    assert len(decoded) == 2 * len(images)
    if task == 'mmpretrain':
        pixels = np.asarray(Image.open(images[0]).convert('RGB'))
        assert np.abs(shown[0][0].astype(int) - pixels).max() <= 2  # of a JPEG


def test_a_plain_model_and_the_swapped_one(told, swapped, picture_tree, tmp_path, capsys):
    """Before the swap b is called b, and after it not; a table says it."""
    given = told('mmpretrain')
    photos = picture_tree / 'val' / 'b'
    host = seen(given['model'], photos, '--checkpoint', given['checkpoint'], out=tmp_path / 'host')
    assert host['classes'] == list(OLD)
    swap = seen(swapped('mmpretrain'), photos, '--top', 1, out=tmp_path / 'swap')
    answers = [[each['answers'][0]['label'] for each in of['images']] for of in (host, swap)]
    assert answers[0].count('b') >= 5 and answers[1].count('b') <= 1
    assert f'| {photos}/00.png | b ' in capsys.readouterr().out


@pytest.mark.slow
def test_nothing_else_is_said(swapped, tmp_path):
    """In a process of its own, whose libraries have something to say when they are imported."""
    run, (image, *_) = swapped('mmpretrain'), images_of(swapped, 'mmpretrain')
    words = ['predict', run, image, '--out', tmp_path / 'out']
    command = [sys.executable, '-m', 'knowswap_mm', *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.startswith('| image') and len(done.stdout.splitlines()) == 5
    assert done.stderr == ''


def test_an_earlier_state_of_a_run(swapped, picture_tree, tmp_path):
    state = swapped('mmpretrain') / 'phase1_learn.pth'
    photos = picture_tree / 'val' / 'x'
    found = seen(swapped('mmpretrain'), photos, '--checkpoint', state, out=tmp_path / 'out')
    assert len(found['images']) == 6
    moved = shutil.copytree(swapped('mmpretrain'), tmp_path / 'moved')  # a run may be moved
    assert seen(moved, photos, '--checkpoint', state, out=tmp_path / 'two') == found
