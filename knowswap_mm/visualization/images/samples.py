"""A few samples of each role, and what the model says of them as the run goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from knowswap_mm.io.files import write_atomic, write_json
from knowswap_mm.registry import DRAWERS
from knowswap_mm.runs.files import IMAGES_FILE, IMAGES_FOLDER
from knowswap_mm.visualization.images.drawer import Drawer, Drawing


class SampleImages:
    """Draws the same samples again and again, and keeps the images in a folder of the run.

    ``pictures/pictures.json`` lists ``samples`` (``role``, ``index`` in the validation data,
    ``truth``) and ``states`` (``state``, ``iteration``, and one of the ``predictions`` for each
    sample). A truth or prediction has ``caption``, ``right``, ``legend``, and ``file`` beside it,
    None if nothing was drawn.

    Args:
        loader (DataLoader): Loads a :class:`RoleDataset` for evaluation.
        folder (Path): Folder of the run.
        count (int): Samples a role, evenly spaced over its data.
    """

    def __init__(self, loader: DataLoader, folder: Path, count: int = 4) -> None:
        self.dataset, self.collate = loader.dataset, loader.collate_fn
        self.folder = Path(folder) / IMAGES_FOLDER
        self.chosen: list[tuple[str, int]] = []
        for role in self.dataset.views:
            span = self.dataset.span(role)
            places = (np.arange(min(count, len(span))) + 0.5) * len(span) / min(count, len(span))
            self.chosen += [(role, span[int(place)]) for place in places]

    @torch.no_grad()
    def draw(self, model: nn.Module, state: str, iteration: int) -> Iterator[tuple[str, Drawing]]:
        """Predict, draw and store; give role and number, and the prediction, with an image always.

        Args:
            model (nn.Module): The model in evaluation mode; it has ``test_step``.
            state (str): What the model is now, e.g. ``start`` or the name of a phase.
            iteration (int): Iterations done.
        """
        index = self._read_index()
        predictions, samples = [], []
        for number, (role, position) in enumerate(self.chosen):
            view = self.dataset.views[role]
            drawer = DRAWERS.build(dict(type=view.drawer))
            record = view.data_info(position - self.dataset.span(role).start)
            batch = self.collate([self.dataset[position]])
            sample = batch['data_samples'][0]
            image = Drawer.image_of(batch, sample)
            classes = self.dataset.metainfo['classes']
            truth = drawer.truth(image, sample, record, classes)
            (predicted,) = model.test_step(batch)
            found = drawer.prediction(image, predicted.cpu(), record, classes)
            name = f'{role}_{number}.webp'
            samples.append(
                dict(role=role, index=position, truth=self._store(truth, f'truth_{name}'))
            )
            predictions.append(self._store(found, f'{state}_{name}'))
            shown = found if found.image is not None else truth
            yield f'{role}_{number}', Drawing(found.caption, shown.image, found.right, found.legend)
        if [self._key(each) for each in index['samples']] != [self._key(each) for each in samples]:
            index = dict(states=[])  # those of another run
        states = [each for each in index['states'] if each['iteration'] < iteration]
        states.append(dict(state=state, iteration=iteration, predictions=predictions))
        index = dict(samples=samples, states=states)
        write_json(self.folder / IMAGES_FILE, index, indent=1)

    def _read_index(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / IMAGES_FILE).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return dict(samples=[], states=[])

    @staticmethod
    def _key(sample: dict[str, Any]) -> tuple[str, int, str]:
        return sample['role'], sample['index'], sample['truth']['caption']

    def _store(self, drawing: Drawing, name: str) -> dict[str, Any]:
        if drawing.image is not None:
            buffer = io.BytesIO()
            Image.fromarray(drawing.image).save(buffer, 'WEBP', quality=82, method=4)
            write_atomic(self.folder / name, lambda file: file.write(buffer.getvalue()))
        return dict(
            file=None if drawing.image is None else name,
            caption=drawing.caption,
            right=drawing.right,
            legend=drawing.legend,
        )
