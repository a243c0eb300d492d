"""Images of predictions by role, for the three tasks."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import RUNNERS
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from knowswap_mm.datasets import ClassificationRoleView
from knowswap_mm.engine import RoleImagesHook
from knowswap_mm.visualization.images import (
    DetectionDrawer,
    Drawer,
    SegmentationDrawer,
)
from knowswap_mm.visualization.images.drawer import SIZE, class_colour
from knowswap_mm.visualization.images.samples import SampleImages
from tests.helpers import detection_configs, segmentation_configs
from tests.helpers.swap_configs import train

CLASSES = ('disc', 'star', 'bar')


def index_of(folder):
    return json.loads((folder / 'pictures' / 'pictures.json').read_text())


def test_the_same_samples_before_and_after(run):
    index = index_of(run)
    assert [state['state'] for state in index['states']] == [
        'start',
        'phase1_learn',
        'phase2_forget',
    ]
    assert [state['iteration'] for state in index['states']] == [0, 6, 11]
    assert [s['role'] for s in index['samples']] == ['learn'] * 4 + ['forget'] * 4 + ['retain'] * 4
    # Six images of a class: x and y are learned, b is forgotten, four are retained.
    assert [s['index'] for s in index['samples']] == [1, 4, 7, 10, 12, 14, 15, 17, 21, 27, 33, 39]
    truths = [s['truth']['caption'] for s in index['samples']]
    assert truths == ['x', 'x', 'y', 'y', 'b', 'b', 'b', 'b', 'a', 'c', 'd', 'e']
    for state in index['states']:
        for truth, found in zip(truths, state['predictions'], strict=True):
            assert found['file'] is None and found['right'] is (
                found['caption'].split()[0] == truth
            )


def test_predictions_are_those_of_the_evaluation(run):
    """Of the forget role all six validation images but two are drawn: shares agree roughly."""
    states = json.loads((run / 'swap_results.json').read_text())['states']
    for state in index_of(run)['states']:
        right = [p['right'] for p in state['predictions'][4:8]]
        accuracy = states[state['state']]['metrics']['forget/accuracy/top1'] / 100
        assert abs(6 * accuracy - sum(right)) <= 2


def test_backends_get_the_pictures(run):
    (folder,) = run.glob('*/vis_data/vis_image')
    names = {path.name for path in folder.iterdir()}
    assert {'learn_0_0.png', 'forget_4_6.png', 'retain_11_11.png'} <= names and len(names) == 36
    stored = Image.open(run / 'pictures' / 'truth_learn_0.webp')
    assert stored.size == (SIZE, SIZE)


def test_drawing_changes_nothing(run, seen_config, tmp_path):
    config = seen_config(tmp_path / 'plain')
    for name in ('pictures', 'report', 'block_profile'):
        config.default_hooks[name] = None
    train(config)
    plain, drawn = (
        torch.load(folder / 'phase2_forget.pth', weights_only=False)['state_dict']
        for folder in (tmp_path / 'plain', run)
    )
    assert all(torch.equal(plain[name], drawn[name]) for name in drawn)
    assert not (tmp_path / 'plain' / 'pictures').exists()


def test_evaluations_inside_a_phase_on_request(seen_config, tmp_path):
    config = seen_config(tmp_path / 'run', train_cfg__val_interval=4)
    config.default_hooks.pictures.update(every_evaluation=True, samples=1)
    config.default_hooks.report = None
    train(config)
    states = [state['state'] for state in index_of(tmp_path / 'run')['states']]
    assert states == ['start', 'iteration_4', 'phase1_learn', 'iteration_8', 'phase2_forget']


def test_pictures_that_fail_lose_no_run(seen_config, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassificationRoleView, 'drawer', 'knowswap_mm.NoSuchDrawer')
    config = seen_config(tmp_path / 'run')
    config.default_hooks.report = None
    runner, recorder = train(config)
    assert runner.iter == 11 and all(recorder.column('training'))
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert log.count('No images of predictions are drawn') == 1  # and not tried again


def test_a_task_without_a_drawer_has_no_pictures(seen_config, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassificationRoleView, 'drawer', None)
    train(seen_config(tmp_path / 'run'))
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'ClassificationRoleView names no drawer' in log
    assert 'id="samples"' not in (tmp_path / 'run' / 'report.html').read_text()


@pytest.mark.parametrize('samples', [0, 2.0, True, None])
def test_samples_are_checked(samples, raises_config_error):
    with raises_config_error('custom_hooks.RoleImagesHook.samples', samples, 'integer'):
        RoleImagesHook(samples=samples)


@pytest.mark.parametrize(
    ('configs', 'make'),
    [
        (detection_configs, detection_configs.detection_config),
        (segmentation_configs, segmentation_configs.segmentation_config),
    ],
    ids=['detection', 'segmentation'],
)
def test_detectors_and_segmentors_are_drawn(configs, make, tmp_path):
    scenes, host = configs.write_scenes(tmp_path / 'scenes'), tmp_path / 'host.pth'
    configs.write_host(host)
    phases = [dict(kind='learn', iters=2)]
    runner = RUNNERS.build(make(scenes, tmp_path / 'run', host, phases))
    model = runner.swapper.eval()
    images = SampleImages(runner.val_dataloader, tmp_path, count=2)
    drawn = dict(images.draw(model, 'start', 0))
    assert list(drawn) == [f'{r}_{n}' for n, r in enumerate(
        ('learn', 'learn', 'forget', 'forget', 'retain', 'retain'))]  # fmt: skip
    index = index_of(tmp_path)
    for sample, found in zip(index['samples'], index['states'][0]['predictions'], strict=True):
        truth = sample['truth']
        assert Image.open(tmp_path / 'pictures' / truth['file']).size == (SIZE, SIZE)
        assert Image.open(tmp_path / 'pictures' / found['file']).size == (SIZE, SIZE)
        names = [name for name, _ in truth['legend']]
        wanted = dict(learn=configs.NEW, forget=[configs.FORGOTTEN], retain=configs.OLD)
        assert set(names) & set(wanted[sample['role']]), (sample['role'], names)


def test_boxes_lie_where_they_are():
    image = np.zeros((64, 128, 3), np.uint8)
    found = InstanceData(
        bboxes=torch.tensor([[32.0, 16.0, 64.0, 48.0], [0.0, 0.0, 8.0, 8.0]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.9, 0.1]),
    )
    sample = type('Sample', (), dict(pred_instances=found))
    drawing = DetectionDrawer().prediction(image, sample, {}, CLASSES)
    assert drawing.caption == 'star' and drawing.legend == [('star', class_colour(1))]
    assert drawing.image.shape == (128, 256, 3)
    red, green, blue = (int(class_colour(1)[i : i + 2], 16) for i in (1, 3, 5))
    where = np.argwhere((drawing.image == (red, green, blue)).all(axis=-1))
    assert where[:, 0].max() in range(94, 99) and where[:, 1].max() in range(126, 131)
    record = dict(instances=[dict(bbox=[0, 0, 9, 9], bbox_label=5, ignore_flag=0)] * 2)
    assert DetectionDrawer().truth(image, sample, record, CLASSES).caption == '2 × row 5'
    record['instances'][0]['ignore_flag'] = 1
    found.scores[:] = 0
    drawing = DetectionDrawer().prediction(image, sample, {}, CLASSES)
    assert drawing.caption == 'nothing' and drawing.image.max() == 0


def test_pixels_have_the_colour_of_their_class():
    labels = torch.full((1, 32, 32), 255)
    labels[:, :, 16:] = 2
    labels[0, 0, 0] = 1  # a speck: drawn, not named
    sample = type('Sample', (), dict(pred_sem_seg=PixelData(data=labels)))
    image = np.full((32, 32, 3), 100, np.uint8)
    drawing = SegmentationDrawer(opacity=1.0).prediction(image, sample, {}, CLASSES)
    assert drawing.caption == 'bar' and drawing.legend == [('bar', class_colour(2))]
    assert (drawing.image[:, :128][20:] == 100).all()
    assert '#' + ''.join(f'{part:02x}' for part in drawing.image[0, 200]) == class_colour(2)


def test_a_picture_without_a_file_is_what_the_pipeline_made():
    sample = type('Sample', (), dict(metainfo={}))
    pixels = torch.zeros(3, 4, 4)
    pixels[0] = 200  # blue comes first
    assert Drawer.image_of(dict(inputs=[pixels]), sample)[0, 0].tolist() == [0, 0, 200]
