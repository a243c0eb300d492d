"""Role view whose training samples carry wrong labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from knowswap_mm.datasets.class_roles import ClassRoles
from knowswap_mm.datasets.classification_role_view import ClassificationRoleView
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATASETS
from knowswap_mm.roles import FORGET


@DATASETS.register_module()
class RandomLabelRoleView(ClassificationRoleView):
    """Gives each draw of a forget sample the label of a random class that is not forgotten.

    The label is uniform over all classes of the swap but those to forget, learned ones included: a
    picture of one forgotten class must not teach another. It changes from draw to draw and follows
    from the seed of the draw, like augmentation. Only the sampler's draws are relabelled; read by
    a plain number, as in an evaluation, a sample has its true label. In training the true one
    stands in the metainfo as ``true_label``. See :class:`RoleView` for the arguments.

    Raises:
        ConfigError: If the role is not ``forget``, or every class is forgotten.
    """

    def bind(self, classes: ClassRoles) -> None:
        """Select the samples of the role, and the labels to draw from.

        Args:
            classes (ClassRoles): The partition of the classes.
        """
        if self.role != FORGET:
            fix = 'give it to the role forget alone'
            raise ConfigError(f'{self.key}.view', type(self).__name__, 'wrong labels', fix)
        super().bind(classes)
        wrong = [i for i, name in enumerate(classes.names) if name not in set(classes.forget)]
        if not wrong:
            fix = 'leave a class out of it'
            problem = 'no class is left for a random label'
            raise ConfigError('swap.classes.forget', classes.forget, problem, fix)
        self.wrong_labels = np.asarray(wrong)

    def load(self, index: int, **metainfo: Any) -> dict[str, Any]:
        """Load one sample, in training with a random label.

        Args:
            index (int): Index in the view.
            **metainfo: Written into the sample's metainfo; the sampler's draws have a ``phase``.

        Returns:
            dict: As :meth:`RoleView.load`.
        """
        sample = super().load(index, **metainfo)
        if 'phase' in metainfo:
            data_sample = sample['data_samples']
            data_sample.set_metainfo(dict(true_label=int(data_sample.gt_label)))
            # The generator is seeded from the draw by RoleDataset.
            data_sample.set_gt_label(int(np.random.choice(self.wrong_labels)))
        return sample
