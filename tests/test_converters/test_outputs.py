"""Converted weights give the outputs that the formulas give on the official layout."""

from pathlib import Path

import mmdet.models  # noqa: F401  registers the hosts
import mmseg.models  # noqa: F401
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmseg.structures import SegDataSample

from knowswap_mm.converters import TABLES
from knowswap_mm.models.host_fixes import KEY, widen
from tests.helpers.official_layouts.dino import dino
from tests.helpers.official_layouts.mask2former import mask2former

CONFIGS = Path(__file__).parents[2] / 'configs'
DEPTHS, HEADS, WINDOW = (2, 2, 2, 1), (1, 2, 4, 8), 4
SWIN = dict(depths=DEPTHS, embed_dims=16, num_heads=HEADS, window_size=WINDOW, drop_path_rate=0.0)
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def build(config, scope):
    """A host with weights that are all different; some of its own are uninitialised memory."""
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(config).double().eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn_like(parameter)
                if parameter.ndim > 1:
                    parameter.copy_(noise / parameter[0].numel() ** 0.5)
                else:
                    parameter.copy_(0.1 * noise + float(name.endswith('weight')))
    return model


def pictures():
    # Neither side is a multiple of the windows, so that maps are padded.
    return torch.randn(2, 3, 104, 136, generator=torch.Generator().manual_seed(1)).double()


def test_mask2former():
    path = 'segmentation/mask2former_swin-b_ade20k-voc_learn-forget_parity.py'
    config = Config.fromfile(CONFIGS / path).model.host
    config.backbone.update(SWIN)
    config.decode_head.in_channels = [16, 32, 64, 128]
    config.decode_head.num_queries = 12
    model = build(config, 'mmseg')
    w = TABLES['official-mask2former'].revert(model.state_dict())
    sample = SegDataSample(metainfo=dict(batch_input_shape=(104, 136), img_shape=(104, 136)))
    with torch.no_grad():
        scores, masks = model.decode_head(model.extract_feat(pictures()), [sample, sample])
        found = mask2former(w, pictures(), DEPTHS, HEADS, WINDOW, 6, 9)
    torch.testing.assert_close(found[0], scores[-1], **TOLERANCE)
    torch.testing.assert_close(found[1], masks[-1], **TOLERANCE)


def test_dino():
    path = 'detection/dino-4scale_swin-l_coco-cub_learn-forget_parity.py'
    config = Config.fromfile(CONFIGS / path).model.host
    config.backbone.update(SWIN)
    config.neck.in_channels = [32, 64, 128]
    config.num_queries = 20
    model = build(config, 'mmdet')
    points = model.get_parameter(KEY).data
    points.copy_(widen(points[:, ::2].contiguous()))
    w = TABLES['official-dino'].revert(model.state_dict())
    shape = dict(batch_input_shape=(104, 136), img_shape=(104, 136))
    samples = [DetDataSample(metainfo=shape) for _ in range(2)]
    with torch.no_grad():
        scores, boxes = model(pictures(), samples, mode='tensor')
        found = dino(w, pictures(), DEPTHS, HEADS, WINDOW, 20)
    torch.testing.assert_close(found[0], scores[-1], **TOLERANCE)
    torch.testing.assert_close(found[1], boxes[-1], **TOLERANCE)
