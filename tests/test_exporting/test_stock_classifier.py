"""An exported classifier in mmpretrain's own tools."""

import pytest
import torch

from tests.helpers.exports import export, own_runner, predictions, stock
from tests.helpers.swap_configs import FORGOTTEN, NEW, OLD

pytestmark = pytest.mark.slow
ROLES = ('learn', 'forget', 'retain')
CLASSES = [*OLD, *NEW]


@pytest.fixture(scope='module')
def truth(classifier):
    """Our figures and the scores of the unmerged model by path of the image."""
    config, _, checkpoint = classifier
    figures = own_runner(config, checkpoint).test()
    samples = predictions(config, checkpoint)
    return figures, {s.img_path: (s.pred_score, int(s.gt_label)) for s in samples}


@pytest.fixture(scope='module')
def found(classifier, truth, tmp_path_factory):
    """What mmpretrain's tools say of the whole host, of one in half precision, of one with fewer
    classes; the folders were moved after the export."""
    _, config, checkpoint = classifier
    folder = tmp_path_factory.mktemp('exported')
    made, moved = folder / 'made', folder / 'my exports'
    kinds = dict(whole=[], half=['--half'], fewer=['--drop', 'forgotten'])
    for name, options in kinds.items():
        export(config, checkpoint, made / name, '--test-data', *options)
    made.rename(moved)
    pictures = list(truth[1])[::6]
    jobs = [
        (moved / 'whole', ROLES, pictures),
        (moved / 'half', ['retain'], pictures),
        (moved / 'fewer', ['learn', 'retain'], pictures),
    ]
    results = stock('mmpretrain', 'ImageClassificationInferencer', folder / 'work', *jobs)
    return moved, pictures, dict(zip(kinds, results, strict=True))


def scores(result):
    return torch.tensor([each[0]['pred_scores'] for each in result[0]])


def test_the_inferencer_gives_the_same_scores(truth, found):
    _, pictures, results = found
    wanted = torch.stack([truth[1][path][0] for path in pictures])
    torch.testing.assert_close(scores(results['whole']), wanted, rtol=1e-4, atol=1e-5)
    names = [each[0]['pred_class'] for each in results['whole'][0]]
    assert names == [CLASSES[i] for i in wanted.argmax(1)]
    # Weights of 11 bits: what they add up to is off by some of the last ones.
    torch.testing.assert_close(scores(results['half']), wanted, rtol=0, atol=0.02)


@pytest.mark.parametrize('role', ROLES)
def test_the_own_tool_gives_the_same_accuracy(truth, found, role):
    measured = found[2]['whole'][1][role]
    figures = truth[0]
    assert measured['accuracy/top1'] == pytest.approx(figures[f'{role}/accuracy/top1'], abs=1e-4)
    recalls = dict(zip(CLASSES, measured['single-label/recall_classwise'], strict=True))
    ours = {key.rsplit('/')[-1]: v for key, v in figures.items() if f'{role}/class/' in key}
    assert ours and 0 < sum(figures[f'{r}/accuracy/top1'] for r in ROLES) < 300
    # mmpretrain rounds these to two digits.
    assert {name: recalls[name] for name in ours} == pytest.approx(ours, abs=0.0051)


def test_fewer_classes_score_as_the_rest_did(truth, found):
    _, pictures, results = found
    kept = [i for i, name in enumerate(CLASSES) if name != FORGOTTEN]
    rest = torch.stack([truth[1][path][0] for path in pictures])[:, kept]
    rest = rest / rest.sum(1, keepdim=True)
    torch.testing.assert_close(scores(results['fewer']), rest, rtol=1e-4, atol=1e-5)
    for role in ('learn', 'retain'):
        own = [(s[kept], kept.index(n)) for s, n in truth[1].values() if role_of(n) == role]
        right = [int(score.argmax()) == label for score, label in own]
        measured = results['fewer'][1][role]['accuracy/top1']
        assert measured == pytest.approx(100 * sum(right) / len(right), abs=1e-4)


def role_of(label):
    name = CLASSES[label]
    return 'learn' if name in NEW else 'forget' if name == FORGOTTEN else 'retain'


def test_a_role_without_a_class_has_no_test(found):
    folder = found[0] / 'fewer'
    assert sorted(p.stem for p in folder.glob('test_*.py')) == ['test_learn', 'test_retain']
