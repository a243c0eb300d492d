"""An exported detector in mmdet's own tools."""

import json

import pytest
import torch

from tests.helpers.detection_configs import FORGOTTEN, NEW, OLD
from tests.helpers.exports import export, own_runner, predictions, stock

ROLES = ('learn', 'forget', 'retain')
CLASSES = [*OLD, *NEW]


@pytest.mark.slow
def test_mmdets_tools_find_the_same(detector, tmp_path):
    config, path, checkpoint = detector
    record = export(path, checkpoint, tmp_path / 'my export', '--test-data')
    assert record['tests'] == dict(
        learn=list(NEW), forget=[FORGOTTEN], retain=[name for name in OLD if name != FORGOTTEN]
    )
    samples = {sample.img_path: sample.pred_instances for sample in predictions(config, checkpoint)}
    pictures = list(samples)[::6]
    job = (tmp_path / 'my export', ROLES, pictures)
    ((found, figures, _),) = stock('mmdet.apis', 'DetInferencer', tmp_path / 'work', job)
    for picture, each in zip(pictures, found, strict=True):
        wanted, given = samples[picture], each['predictions'][0]
        torch.testing.assert_close(torch.tensor(given['scores']), wanted.scores, rtol=0, atol=1e-5)
        boxes = torch.tensor(given['bboxes'])
        torch.testing.assert_close(boxes, wanted.bboxes, rtol=0, atol=1e-3)
        assert given['labels'] == wanted.labels.tolist()
    ours = own_runner(config, checkpoint).test()
    for role in ROLES:
        assert ours[f'{role}/coco/bbox_mAP'] > 0.01
        for name in (key for key in ours if key.startswith(f'{role}/coco/')):
            measured = figures[role][name.removeprefix(f'{role}/')]
            assert measured == pytest.approx(ours[name], abs=1e-4), name


def test_dropped_classes_leave_the_annotations(detector, tmp_path):
    _, path, checkpoint = detector
    dropped = [FORGOTTEN, OLD[0]]
    record = export(path, checkpoint, tmp_path / 'out', '--test-data', '--drop', *dropped)
    kept = [name for name in CLASSES if name not in dropped]
    assert record['tests'] == dict(learn=list(NEW), retain=[n for n in kept if n in OLD])
    for role, own in record['tests'].items():
        content = json.loads((tmp_path / 'out' / f'test_{role}' / 'objects.json').read_text())
        assert content['categories'] == [dict(id=i, name=name) for i, name in enumerate(kept)]
        seen = {item['category_id'] for item in content['annotations']}
        assert seen == {kept.index(name) for name in own}
        with_object = {item['image_id'] for item in content['annotations']}
        assert with_object == {image['id'] for image in content['images']}
