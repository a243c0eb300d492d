"""Images and models for audits: small enough to be learned by heart in seconds.

Each class has a pattern of its own under strong noise. A model learns the patterns, and its few
training images by heart, so that every attack of an audit has something to find.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from tests.helpers.swap_configs import forget, host_config, learn, swap_config

OLD, NEW, FORGOTTEN = ('a', 'b', 'c', 'd', 'e'), ('x', 'y'), ('b', 'd')
COUNTS = dict(train=16, val=40)
SIZE, NOISE = 16, 80.0


def write_pictures(root: Path) -> Path:
    """``{train,val}/<class>/<nn>.png``."""
    rng = np.random.default_rng(0)
    patterns = {
        name: np.kron(rng.normal(0, 40, (4, 4, 3)), np.ones((4, 4, 1))) for name in (*OLD, *NEW)
    }
    for part, count in COUNTS.items():
        for name, pattern in patterns.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = 127 + pattern + rng.normal(0, NOISE, (SIZE, SIZE, 3))
                picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                picture.save(folder / f'{number:02d}.png')
    return root


def train_host(
    root: Path, path: Path, classes: tuple[str, ...], seed: int, steps: int = 60
) -> Path:
    """Trains a plain host with a row for every class on some of them, and saves it."""
    names = (*OLD, *NEW)
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS.build(host_config(len(names)))
        model.init_weights()
        files = [
            (file, names.index(name))
            for name in classes
            for file in sorted((root / 'train' / name).iterdir())
        ]
        pictures = [
            torch.from_numpy(np.asarray(Image.open(f))[..., ::-1].copy()).permute(2, 0, 1)
            for f, _ in files
        ]
        labels = torch.tensor([label for _, label in files])
        inputs = model.data_preprocessor(dict(inputs=pictures))['inputs']
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        model.train()
        for _ in range(steps):
            logits = model.head(model.extract_feat(inputs))
            loss = torch.nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


def audit_config(root: Path, work_dir: Path, host: Path, **changes: object) -> Config:
    """The config of a swap of `b` and `d` against `x` and `y`."""
    phases = [learn(iters=3), forget(iters=3, merge_learned=True)]
    config = swap_config(root, work_dir, phases, host=host)
    config.swap.classes = dict(old=list(OLD), learn=list(NEW), forget=list(FORGOTTEN))
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config
