"""How much the representations changed."""

from __future__ import annotations

import numpy as np

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.checks import check_whole
from knowswap_mm.registry import AUDITS

#: By which the report finds the table.
TITLE = 'Representation similarity'


@AUDITS.register_module()
class Similarity(AuditPart):
    """Centred kernel alignment with the model before the swap, by block and role.

    1 means that the outputs of a block have the same geometry as before; a role whose blocks stay
    near 1 while its answers change was forgotten in the last layers only.

    Args:
        samples (int): At most so many samples a role; the cost grows with their square.
    """

    def __init__(self, samples: int = 500) -> None:
        check_whole('audit.parts.Similarity.samples', samples, 1, 500)
        self.samples = samples

    def run(self, case: Case) -> list[Finding | Table]:
        """Compare the audited model and the references with the model before the swap."""
        others = case.named[1:]
        roles = case.data.roles(TEST)
        rows = []
        for block in case.before.blocks:
            cells = []
            for _, subject in others:
                for role in roles:
                    old = case.before.units(TEST, role).blocks.get(block)
                    new = subject.units(TEST, role).blocks.get(block)
                    enough = old is not None and new is not None and len(old) > 3
                    cells.append(
                        alignment(old[: self.samples], new[: self.samples]) if enough else None
                    )
            rows.append([block, *cells])
        return [
            Table(
                TITLE,
                'Centred kernel alignment (linear, without bias; Song et al. 2012, Kornblith et '
                'al. 2019) of the output of each adapted block with that of the model before the '
                'swap, on test samples. 1: same geometry; 0: none.',
                ['block', *[f'{name}, {role}' for name, _ in others for role in roles]],
                rows,
            )
        ]


def alignment(left: np.ndarray, right: np.ndarray) -> float:
    """Unbiased linear centred kernel alignment of two representations of the same samples.

    Args:
        left (np.ndarray): ``(samples, channels)``; more than three samples.
        right (np.ndarray): ``(samples, channels)`` of any width.
    """
    left, right = (_without_diagonal(each.astype(np.float64)) for each in (left, right))
    norm = np.sqrt(max(_independence(left, left), 0.0) * max(_independence(right, right), 0.0))
    return float(_independence(left, right) / norm) if norm > 0 else 0.0


def _without_diagonal(rows: np.ndarray) -> np.ndarray:
    gram = (rows - rows.mean(axis=0)) @ (rows - rows.mean(axis=0)).T
    np.fill_diagonal(gram, 0)
    return gram


def _independence(left: np.ndarray, right: np.ndarray) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al. 2012, eq. 5)."""
    n = len(left)
    trace = float((left * right).sum())
    totals = float(left.sum()) * float(right.sum()) / ((n - 1) * (n - 2))
    rows = 2 * float(left.sum(axis=0) @ right.sum(axis=0)) / (n - 2)
    return (trace + totals - rows) / (n * (n - 3))
