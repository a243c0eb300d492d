"""An exported segmentor in mmseg's own tools."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.exports import export, own_runner, predictions, stock
from tests.helpers.segmentation_configs import FORGOTTEN, NEW, OLD

ROLES = ('learn', 'forget', 'retain')
CLASSES = [*OLD, *NEW]


@pytest.mark.slow
def test_mmsegs_tools_find_the_same(segmentor, tmp_path):
    config, path, checkpoint = segmentor
    record = export(path, checkpoint, tmp_path / 'my export', '--test-data')
    samples = {sample.img_path: sample.pred_sem_seg for sample in predictions(config, checkpoint)}
    pictures = list(samples)[::6]
    job = (tmp_path / 'my export', ROLES, pictures)
    ((found, _, tables),) = stock('mmseg.apis', 'MMSegInferencer', tmp_path / 'work', job)
    for picture, each in zip(pictures, found, strict=True):
        # Pixels at which two classes are equal in all but the last digit may fall either way.
        given = torch.tensor(each['predictions'])
        assert (given == samples[picture].data.squeeze()).float().mean() > 0.999
    ours = own_runner(config, checkpoint).test()
    for role in ROLES:
        rows = {name: tables[role][name] for name in record['tests'][role]}
        there = {n: row['IoU'] for n, row in rows.items() if not math.isnan(row['Acc'])}
        wanted = {n: ours[f'{role}/seg/IoU/{n}'] for n in there}
        # Of 100, and the table has two digits behind the point.
        assert there == pytest.approx(wanted, abs=0.0051 + 0.01)
        assert set(there) == {k.rsplit('/')[-1] for k in ours if f'{role}/seg/IoU/' in k}
        assert 1 < ours[f'{role}/seg/mIoU'] < 99
        mean = sum(there.values()) / len(there)
        assert mean == pytest.approx(ours[f'{role}/seg/mIoU'], abs=0.0051 + 0.01)


def test_dropped_classes_are_unlabelled_in_the_maps(segmentor, tmp_path):
    config, path, checkpoint = segmentor
    record = export(path, checkpoint, tmp_path / 'out', '--test-data', '--drop', 'forgotten')
    assert set(record['tests']) == {'learn', 'retain'}
    kept = [name for name in CLASSES if name != FORGOTTEN]
    data = own_runner(config, checkpoint).test_dataloader.dataset
    for role in record['tests']:
        folder = tmp_path / 'out' / f'test_{role}'
        names = (folder / 'pictures.txt').read_text().split('\n')[:-1]
        view = data.views[role]
        assert len(names) == len(view)
        for position, name in enumerate(names):
            wanted = view.load(position)['data_samples'].gt_sem_seg.data.squeeze().numpy()
            found = np.array(Image.open(folder / 'maps' / f'{name}.png'))
            table = np.full(256, 255)
            table[[CLASSES.index(name) for name in kept]] = range(len(kept))
            assert np.array_equal(found, table[wanted])
