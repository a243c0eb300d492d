"""What the files of a made data set show."""

import numpy as np
import pytest
from PIL import Image

from knowswap_mm.data_tools.generators.trees import Split, write_image_folder


@pytest.mark.parametrize(('shape', 'mode'), [((28, 28), 'L'), ((5, 9, 3), 'RGB')])
def test_files_show_what_was_given(shape, mode, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    splits = dict(train=lambda: Split(images, np.array([0, 1, 1, 0])))
    write_image_folder(tmp_path / 'tree', ('zebra', 'ant'), splits, {})
    for place, name in enumerate(('zebra', 'ant', 'ant', 'zebra')):
        with Image.open(tmp_path / 'tree' / 'train' / name / f'{place:05d}.png') as opened:
            assert (opened.format, opened.mode) == ('PNG', mode)
            np.testing.assert_array_equal(np.asarray(opened), images[place])
