"""Hosts with several rows a class, classes on another axis, or no rows (issue 24, section 3)."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from mmpretrain.models import LinearClsHead
from torch import nn

from knowswap_mm.engine.old_outputs import ROUNDING, compare_old_outputs, report_old_outputs
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.exporting.host import ExportedHost
from knowswap_mm.lora import AdapterFile
from knowswap_mm.lora.row_layout import RowLayout, possible_layouts
from knowswap_mm.models import ClassRows, KnowledgeSwapper, class_rows, original_host, unload_all
from knowswap_mm.models.host_config import one_count, replace_counts
from tests.helpers.row_hosts import MAKERS, SIZE, san
from tests.helpers.segmentation_configs import host_config as mask2former_host
from tests.helpers.tiny_hosts import build_host, snapshot, swin_host, vit_host

OLD, TOTAL, LATER = 5, 7, 8
#: Axis, groups, rows of a class in a group, rest before, rest behind.
LAYOUTS = dict(
    mask_rcnn={
        'roi_head.bbox_head.fc_cls': (0, 1, 1, 0, 1),
        'roi_head.bbox_head.fc_reg': (0, 1, 4, 0, 0),
        'roi_head.mask_head.conv_logits': (0, 1, 1, 0, 0),
    },
    retinanet={'bbox_head.retina_cls': (0, 9, 1, 0, 0)},
    yolov3={f'bbox_head.convs_pred.{i}': (0, 3, 1, 5, 0) for i in range(3)},
    fcos={'bbox_head.conv_cls': (0, 1, 1, 0, 0)},
    arcface={'head.norm_product': (0, 1, 3, 0, 0)},
    segmenter={'decode_head.cls_emb': (1, 1, 1, 0, 0), 'decode_head.mask_norm': (0, 1, 1, 0, 0)},
    knet={'decode_head.kernel_generate_head.conv_seg': (0, 1, 1, 0, 0)},
)
SEVERAL = [name for name in MAKERS if name not in ('fcos', 'knet')]
MIXING = ('segmenter', 'knet')
DETECTORS = ('mask_rcnn', 'retinanet', 'yolov3', 'fcos')


@pytest.fixture(params=MAKERS)
def name(request):
    with DefaultScope.overwrite_default_scope(MAKERS[request.param][0]):
        yield request.param


def config(name, classes):
    return MAKERS[name][1](classes)


def build(name, classes=TOTAL, policy='new_rows', seed=0, **settings):
    torch.manual_seed(seed)
    head = dict(policy=policy) | ({} if 'adapters' in settings else dict(old_classes=OLD))
    return KnowledgeSwapper(config(name, classes), lora=dict(rank=2), head=head, **settings)


def plain(name, classes=OLD, seed=3):
    return build_host(config(name, classes), seed)


def layouts(swapper):
    return {tensor.name: tensor.layout for tensor in swapper.class_rows.tensors}


def sample(**fields):
    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'batch_input_shape'), (SIZE, SIZE))
    return BaseDataElement(metainfo=dict(shapes, scale_factor=(1.0, 1.0)), **fields)


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    return dict(inputs=images, data_samples=[sample(), sample()])


def test_layouts_are_derived(name):
    found = {}
    for key, layout in layouts(build(name)).items():
        owner = key.removesuffix('.weight').removesuffix('.bias')
        assert found.setdefault(owner, layout) == layout
    assert found == {key: RowLayout(*value) for key, value in LAYOUTS[name].items()}


@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
def test_what_loads_trains_and_is_exported(name, policy):
    swapper = build(name, policy=policy)
    old, before = plain(name).state_dict(), snapshot(swapper)
    swapper.load_state_dict(old)
    after = snapshot(swapper)
    for key, layout in layouts(swapper).items():
        assert torch.equal(layout.old_part(after[f'host.{key}'], OLD), old[key])
        new = [layout.new_part(state[f'host.{key}'], OLD) for state in (before, after)]
        assert torch.equal(*new) and new[0].numel() > 0
    with torch.no_grad():
        for parameter in swapper.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    ended = snapshot(swapper)
    for key, layout in layouts(swapper).items():
        moved = ended[f'host.{key}'] - after[f'host.{key}']
        assert bool((layout.old_part(moved, OLD) != 0).all()) == (policy == 'all')
        assert not (policy == 'frozen' and moved.any())
        assert bool((layout.new_part(moved, OLD) != 0).all()) == (policy != 'frozen')
    exported = ExportedHost(swapper, config(name, TOTAL), [f'c{i}' for i in range(TOTAL)])
    MODELS.build(ConfigDict(exported.config)).load_state_dict(exported.state_dict())
    exported.drop(['c0', 'c5'])
    kept = exported.state_dict()
    MODELS.build(ConfigDict(exported.config)).load_state_dict(kept)
    for key, layout in layouts(swapper).items():
        whole = ended[f'host.{key}'].movedim(layout.axis, 0)
        rows = layout.class_of_rows(TOTAL)
        wanted = whole[(rows != 0) & (rows != 5)]
        assert torch.equal(kept[key].movedim(layout.axis, 0), wanted)


def best_first(found):
    """Detections in an order of their own: equal scores may come in any."""
    parts = found.pred_instances
    rows = torch.cat([parts.bboxes, parts.scores[:, None], parts.labels[:, None]], 1)
    return rows[rows[:, 4].argsort(descending=True, stable=True)]


@pytest.mark.parametrize('name', DETECTORS)
@torch.no_grad()
def test_predictions_of_old_classes_are_those_of_the_plain_host(name):
    """By the host's own reading: new classes are made impossible, all else must be as it was."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        host, swapper = plain(name), build(name, policy='frozen')
        swapper.load_state_dict(host.state_dict())
        state = swapper.host.state_dict()
        for key, layout in layouts(swapper).items():
            if key.endswith('.bias') and 'mask_head' not in key and 'fc_reg' not in key:
                layout.new_view(state[key], OLD).fill_(-1e4)
        given = batch()
        pair = [h.eval()(**copy.deepcopy(given), mode='predict') for h in (host, swapper.host)]
    for one, other in zip(*pair, strict=True):
        assert len(one.pred_instances) > 5 and len(one.pred_instances.labels.unique()) > 1
        torch.testing.assert_close(best_first(other), best_first(one), rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_outputs_of_old_classes(name):
    swapper = build(name, policy='frozen')
    swapper.load_state_dict(plain(name).state_dict())
    kept = snapshot(swapper)
    difference, changed, predictions = compare_old_outputs(swapper, batch())
    assert not predictions
    if name in MIXING:
        assert difference > 2 * ROUNDING
    else:
        assert difference < 1e-5 and changed == 0
    assert all(torch.equal(value, kept[key]) for key, value in swapper.state_dict().items())


@pytest.mark.parametrize('name, level', [('knet', 'WARNING'), ('arcface', 'INFO')])
def test_the_log_says_by_how_much(name, level, caplog, monkeypatch):
    with DefaultScope.overwrite_default_scope(MAKERS[name][0]):
        swapper = build(name)
        swapper.load_state_dict(plain(name).state_dict())
        difference = compare_old_outputs(swapper, batch()).difference
        runner = SimpleNamespace(swapper=swapper, logger=logging.getLogger('rows'))
        monkeypatch.setattr('knowswap_mm.engine.old_outputs._one_sample', lambda runner: batch())
        with caplog.at_level('INFO', 'rows'):
            report_old_outputs(runner)
    (record,) = caplog.records
    assert record.levelname == level
    assert f'by {difference:.1e}' in record.message and '5 old classes' in record.message


@pytest.mark.parametrize('name', SEVERAL)
def test_a_second_swap_begins_where_the_first_ended(name, tmp_path):
    with DefaultScope.overwrite_default_scope(MAKERS[name][0]):
        base = plain(name).state_dict()
        first = build(name)
        first.load_state_dict(base)
        with torch.no_grad():
            for parameter in first.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1)
        AdapterFile(tmp_path / 'one').save(first)
        again = build(name, seed=5)
        again.load_state_dict(base)
        for tensor in again.class_rows.tensors:  # the rows of the start are those of the file
            shown = first.start_rows.tensors()[tensor.name]
            again.host.state_dict()[tensor.name].copy_(shown)
            again.start_rows.tensors()[tensor.name].copy_(shown)
        AdapterFile(tmp_path / 'one').load(again)
        assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
        second = build(name, LATER, seed=6, adapters=[str(tmp_path / 'one')])
        second.load_state_dict(base)
        ended, began = first.host.state_dict(), second.host.state_dict()
        for key, layout in layouts(second).items():
            assert torch.equal(layout.old_part(began[key], TOTAL), ended[key])
        found = unload_all(second)
        assert found.keys() == base.keys()
        assert all(torch.equal(found[key], value) for key, value in base.items())
        assert not any('lora' in key for key in original_host(second).state_dict())


@pytest.mark.parametrize('name', SEVERAL)
def test_a_wrong_number_of_old_classes_is_named(name):
    with DefaultScope.overwrite_default_scope(MAKERS[name][0]):
        swapper = build(name)
        with pytest.raises(CheckpointError, match=r'to the classes of the checkpoint \(4\)'):
            swapper.load_state_dict(plain(name, 4).state_dict())


def test_layout_operations_fit_together():
    """Against rows that carry the number of their class."""
    for layout in [
        *possible_layouts(0, 6, 6),
        *possible_layouts(1, 4, 2),
        RowLayout(2, 2, 3, 1, 2),
    ]:
        labels = layout.class_of_rows(6)
        shape = [1] * 3
        shape[layout.axis] = -1
        tensor = labels.reshape(shape).expand([2 if n == 1 else -1 for n in shape]).clone()
        assert layout.size(6) == len(labels) and layout.classes(tensor.shape) == 6
        for old in (1, 4, 6):
            frozen, new = layout.old_part(tensor, old), layout.new_part(tensor, old)
            assert (frozen < old).all() and (new >= old).all()
            assert torch.equal(layout.join(frozen, new, old), tensor)
            view = layout.new_view(tensor, old)
            assert torch.equal(view.reshape(new.shape), new)
        kept = layout.select(tensor, [4, 2])
        along = kept.movedim(layout.axis, 0).flatten(1)[:, 0].tolist()
        order = [label for label in along if label >= 0]
        group = [4] * layout.inner + [2] * layout.inner
        assert order == group * layout.outer and kept.shape[layout.axis] == layout.size(2)


@MODELS.register_module(force=True)
class MuteHead(nn.Module):
    """A head that shows nothing of its classes: the order of its rows cannot be told."""

    def __init__(self, num_classes, kind='rows'):
        super().__init__()
        if kind == 'rows':
            self.weight = nn.Parameter(torch.zeros(2 * num_classes, 8))
        elif kind == 'pairs':
            self.weight = nn.Parameter(torch.zeros(num_classes, num_classes))
        elif kind == 'modules':
            self.each = nn.ModuleList(nn.Linear(8, 1) for _ in range(num_classes))
        elif kind == 'texts':
            self.scale = nn.Parameter(torch.zeros(8))

    def forward(self, features):
        return features[-1]


def mute(kind='rows', **head):
    host = vit_host(head=dict(type='MuteHead', num_classes=TOTAL, kind=kind))
    return KnowledgeSwapper(ConfigDict(host), lora=dict(), head=dict(old_classes=OLD) | head)


@pytest.mark.parametrize(
    'kind, words',
    [
        ('rows', ['head.weight', '2 rows a class', 'model.head.layouts', 'class_major']),
        ('pairs', ['head.weight', '(7, 7)', '(8, 8)']),
        ('modules', ['head.each.7', 'tensors of its own']),
        ('texts', ['ImageClassifier', 'no parameter', '7 classes']),
    ],
)
def test_what_cannot_be_enlarged_is_refused_by_name(kind, words):
    with pytest.raises(ConfigError, match=r'^model\.host') as error:
        mute(kind)
    assert all(word in str(error.value) for word in words)
    assert mute(kind, old_classes=TOTAL)  # without new classes nothing has to grow


def test_the_class_of_san_is_a_text():
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(ConfigError) as error:
        KnowledgeSwapper(san(TOTAL), lora=dict(), head=dict(old_classes=OLD))
    assert 'MultimodalEncoderDecoder' in str(error.value) and error.value.key == 'model.host'


@pytest.mark.parametrize(
    'order, rows', [('class_major', slice(10, 14)), ('group_major', [5, 6, 12, 13])]
)
def test_an_order_can_be_said(order, rows):
    swapper = mute(layouts={r'head\.wei.*': order}, policy='new_rows')
    (layout,) = layouts(swapper).values()
    tensor = torch.arange(2.0 * TOTAL)
    assert layout.new_part(tensor, OLD).tolist() == tensor[rows].tolist()


@pytest.mark.parametrize(
    'value', [5, 'class_major', {'head.weight': 'rows'}, {'(': 'class_major'}, {'x': 'class_major'}]
)
def test_bad_orders(value):
    with pytest.raises(ConfigError, match=r'^model\.head\.layouts'):
        mute(layouts=value)


def test_dropping_without_an_order_is_refused():
    swapper = mute(old_classes=TOTAL)
    exported = ExportedHost(swapper, vit_host(), [f'c{i}' for i in range(TOTAL)])
    with pytest.raises(ConfigError, match=r'--drop.*model\.head\.layouts'):
        exported.drop(['c0'])


@MODELS.register_module(force=True)
class BackgroundFirst(LinearClsHead):
    """A row for the background before those of the classes."""

    def __init__(self, num_classes, **settings):
        super().__init__(num_classes + 1, **settings)

    def forward(self, features):
        return super().forward(features)[:, 1:]


def test_a_background_row_that_comes_first_is_noticed():
    head = dict(type='BackgroundFirst', num_classes=TOTAL, in_channels=32)
    host = ConfigDict(swin_host(head=head))
    settings = dict(old_classes=OLD, policy='new_rows')
    swapper = KnowledgeSwapper(host, lora=dict(), head=settings)
    with pytest.raises(ConfigError, match=r"head\.fc\.weight.*'class_major_rest_first'"):
        swapper.class_rows.check_rest()
    settings['layouts'] = {r'head\.fc\..*': 'class_major_rest_first'}
    swapper = KnowledgeSwapper(host, lora=dict(), head=settings)
    swapper.class_rows.check_rest()
    old = build_host(swin_host(head=head | dict(num_classes=OLD)))
    swapper.load_state_dict(old.state_dict())
    images = torch.randn(3, 3, 16, 16)
    assert torch.allclose(swapper.eval().host(images)[:, :OLD], old(images), atol=1e-5)


@pytest.mark.parametrize('name', ['mask_rcnn', 'mask2former'])
def test_a_background_row_that_comes_last_is_as_assumed(name):
    scope, make = (MAKERS | dict(mask2former=('mmseg', mask2former_host)))[name]
    with DefaultScope.overwrite_default_scope(scope):
        swapper = KnowledgeSwapper(make(TOTAL), lora=dict(), head=dict(old_classes=OLD))
        assert swapper.class_rows._assumed
        swapper.class_rows.check_rest()
        swapper.load_state_dict(build_host(make(OLD)).state_dict())
        assert compare_old_outputs(swapper, batch()).difference < 1e-5


def test_a_part_that_does_not_grow_is_spoken_of(monkeypatch):
    said = []
    monkeypatch.setattr(class_rows, 'print_log', lambda text, *args, **kwargs: said.append(text))
    host = vit_host(TOTAL, neck=dict(type='MuteHead', num_classes=TOTAL, kind='texts'))
    KnowledgeSwapper(ConfigDict(host), lora=dict(), head=dict(old_classes=OLD))
    assert len(said) == 1 and 'model.host.neck counts 7 classes' in said[0]


@pytest.mark.parametrize(
    'change, keys, words',
    [
        (dict(num_things_classes=9), ('classes',), ['num_things_classes = 9', 'count_keys']),
        (dict(num_classes=9), ('num_classes',), ['head.num_classes = 8', 'count_keys']),
    ],
)
def test_count_keys_is_named_where_it_helps(change, keys, words):
    host = vit_host(train_cfg=change)
    with pytest.raises(ConfigError, match=r'^model\.host') as error:
        ClassRows(MODELS.build(vit_host()), host, OLD, keys)
    assert all(word in str(error.value) for word in words)


def test_a_key_with_dots_counts_at_one_place():
    host = dict(roi_head=[dict(num_classes=8), dict(num_classes=8)], other=dict(num_classes=9))
    assert one_count(host, ['roi_head.num_classes']) == 8
    replace_counts(host, ['roi_head.num_classes'], 8, 11)
    assert [part['num_classes'] for part in host['roi_head']] == [11, 11]
    replace_counts(host, ['d_head.num_classes', 'classes'], 11, 12)
    assert host == dict(roi_head=[dict(num_classes=11)] * 2, other=dict(num_classes=9))
