"""The table of hosts, the script that writes it, and a dozen of its hosts tried again."""

import json
import sys

import pytest
import torch

from tests.helpers.doc_blocks import DOCS, REPOSITORY

sys.path.insert(0, str(DOCS / 'scripts'))
import host_list  # noqa: E402
import hosts  # noqa: E402

FOUND = json.loads((REPOSITORY / 'benchmarks' / 'results' / 'hosts.json').read_text())
CASES = {config: (library, options) for _, library, config, options in host_list.HOSTS}


def test_page_is_up_to_date():
    assert hosts.page(FOUND) == hosts.PAGE.read_text(), 'Fix: python docs/scripts/hosts.py --page'


def test_sixty_hosts_and_all_that_are_named():
    tried = [f'{library}/{config}' for _, library, config, _ in host_list.HOSTS]
    assert len(tried) == len(set(tried)) >= 60
    assert set(FOUND) == set(tried)
    families = ' '.join(family for family, *_ in host_list.HOSTS)
    named = """ViT DeiT BEiT MAE Swin PVT SegFormer SegNeXt PoolFormer EfficientFormer MViTv2 HiViT
        EVA02 ConvNeXt ResNet LoRAModel DINO RetinaNet Mask2Former UPerNet DPT K-Net Segmenter SAN
        ArcFace""".split()
    for name in [*named, 'Swin V2', 'Deformable DETR', 'Mask R-CNN', 'Grounding DINO']:
        assert name in families, name


def test_none_crashes_and_none_is_silent():
    bad = [key for key, found in FOUND.items() if found['outcome'] in ('crashes', 'silent')]
    assert bad == []


@pytest.mark.parametrize('config', host_list.DOZEN)
def test_a_dozen_again(config):
    """What was written down is what is found now."""
    from host_trial import try_host

    library, options = CASES[config]
    with torch.random.fork_rng(devices=[]):
        found = try_host(library, config, options)
    written = FOUND[f'{library}/{config}']
    assert (found['outcome'], found['keys']) == (written['outcome'], written['keys']), found
