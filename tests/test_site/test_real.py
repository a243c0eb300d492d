"""docs/real.md: its commands run, on small copies of the repositories that it names."""

import json
import re
import subprocess

import mmpretrain.models  # noqa: F401  registers the hosts
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from knowswap_mm.cli.main import main
from tests.helpers import real_sources
from tests.helpers.doc_blocks import DOCS, blocks_of
from tests.helpers.official_layouts import dinov2

PAGE = DOCS / 'real.md'


@pytest.fixture(scope='module')
def walked(tmp_path_factory):
    """The folder after all commands, and the addresses that a user clones."""
    folder, cloned = tmp_path_factory.mktemp('real'), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks_of(PAGE):
            if block.language:
                continue
            for line in re.sub(r'\\\n\s*', '', block.text).splitlines():
                program, *words = line.split()
                if program == 'knowswap':
                    main(words)
                elif program == 'git':
                    if words[0] == 'clone':
                        cloned.append(words[1])
                        real_sources.SOURCES[words[1].rpartition('/')[2]](folder / words[2])
                else:
                    subprocess.run(['bash', '-euo', 'pipefail', '-c', line], check=True)
    return folder, cloned


def test_every_source_is_cloned_and_credited(walked):
    _, cloned = walked
    text = PAGE.read_text()
    assert [address.rpartition('/')[2] for address in cloned] == list(real_sources.SOURCES)
    assert all(f']({address})' in text for address in cloned)


def test_photos(walked):
    data = walked[0] / 'data/real/grocery'
    for part, names in (('old', real_sources.OLD), ('new', real_sources.NEW)):
        assert (data / part / 'classes.txt').read_text().split() == sorted(names)
        for split in ('train', 'test'):
            assert sorted(path.name for path in (data / part / split).iterdir()) == sorted(names)
    assert len((data / 'old/roles/forget.txt').read_text().split()) == 5
    assert Image.open(data / 'new/train/Leek/val_Leek_001.jpg').size == (196, 196)


def test_street_scenes(walked):
    data = walked[0] / 'data/real'
    for tree, count in (('camvid', 11), ('camvid_old', 9)):
        (path, *_) = (data / tree / 'test/annotations').iterdir()
        assert set(np.unique(np.asarray(Image.open(path)))) == {*range(count), 255}
        assert len((data / tree / 'classes.txt').read_text().split()) == count
        assert (data / tree / 'test/images' / path.name).is_file()


def test_objects(walked):
    data = walked[0] / 'data/real'
    for tree, counts in (('cards', dict(train=6, val=6)), ('bccd', dict(train=3, val=1, test=1))):
        for split, count in counts.items():
            content = json.loads((data / tree / f'annotations/instances_{split}.json').read_text())
            assert len(content['images']) == len(content['annotations']) == count
            assert all(
                (data / tree / split / each['file_name']).is_file() for each in content['images']
            )
    assert (data / 'cards/roles/forget.txt').read_text().split() == ['ten', 'queen']


def test_the_backbone_of_the_page(walked, monkeypatch):
    monkeypatch.chdir(walked[0])
    (block,) = (block for block in blocks_of(PAGE) if block.language == 'python')
    config = Config.fromstring(block.text, '.py').backbone
    assert config.arch == 'dinov2-small'
    model = MODELS.build(dict(config, arch=dinov2.ARCH))
    model.init_weights()
    model.eval()
    images = torch.randn(1, 3, 196, 196)
    with torch.no_grad():
        wanted = dinov2.forward(dinov2.weights(), images)[-1][:, 0]
        torch.testing.assert_close(model(images)[0], wanted, rtol=1e-5, atol=1e-5)
