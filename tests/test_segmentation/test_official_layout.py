"""The parity configs read the official folders."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

CONFIGS = Path(__file__).parents[2] / 'configs' / 'segmentation'
SUFFIXES = dict(voc=('.jpg', '.png'), deepglobe=('_sat.jpg', '_mask.png'))


def write(folder, picture, maps, values, suffixes=('.jpg', '.png')):
    for number, value in enumerate(values):
        for name, content in (
            (f'{picture}/{number}{suffixes[0]}', np.full((40, 48, 3), 120, np.uint8)),
            (f'{maps}/{number}{suffixes[1]}', np.full((40, 48), value, np.uint8)),
        ):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content[:4] = 255
            Image.fromarray(content).save(path)


@pytest.fixture(params=SUFFIXES)
def data(request, tmp_path, monkeypatch):
    """The data sets of a parity config over two images a split and role."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'data' / 'ade_swap'
    for split in ('train', 'test'):
        folders = (f'{split}/images', f'{split}/annotations')
        write(root / request.param, *folders, [150, 154], SUFFIXES[request.param])
    for split in ('training', 'validation'):
        folders = (f'images/{split}', f'annotations_detectron2/{split}')
        write(root / 'forget', *folders, [3, 80])
        write(root / 'retain', *folders, [0, 149])
    cfg = Config.fromfile(
        CONFIGS / f'mask2former_swin-b_ade20k-{request.param}_learn-forget_parity.py'
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            for role in loader.dataset.roles.values():
                role.cache_dir = str(tmp_path / 'cache')
        yield (
            [
                DATASETS.build(dict(loader.dataset, classes=cfg.swap.classes))
                for loader in (cfg.train_dataloader, cfg.val_dataloader)
            ],
            cfg,
        )


def test_labels_and_normalisation_by_role(data):
    for dataset in data[0]:
        assert len(dataset.classes.names) == 156
        assert dataset.classes.old[:2] == ['wall', 'building']
        assert dataset.classes.forget == [dataset.classes.names[i] for i in (3, 80)]
        found, values = {}, {}
        for i in range(len(dataset)):
            sample = dataset[i]
            role = sample['data_samples'].role
            labels = set(np.unique(sample['data_samples'].gt_sem_seg.data).tolist())
            found.setdefault(role, set()).update(labels)
            values[role] = sample['inputs']
        assert found['forget'] - {255} == {3, 80}
        assert found['learn'] - {255} == {150, 154}
        # A forgotten class is not retained, wherever it occurs.
        assert found['retain'] - {255} == {0, 149}
    # Of the evaluation: red, where the image is grey.
    assert values['learn'][0, -1, -1] == pytest.approx((120 - 119.734) / 57.671, abs=0.05)
    assert values['retain'][0, -1, -1] == pytest.approx((120 - 123.675) / 58.395, abs=0.05)


def test_crops_have_one_size(data):
    sample = data[0][0][0]
    assert sample['inputs'].shape == (3, 640, 640)
    assert sample['data_samples'].gt_sem_seg.data.shape == (1, 640, 640)
