"""Single numbers that sum a swap up."""

from __future__ import annotations


def forgetting_h_mean(forget_before: float, forget: float, retain: float) -> float:
    """Harmonic mean of what was forgotten and what was retained.

    The formula of the official classifier evaluation, ``2 d r / (d + r)`` with the drop
    ``d = forget_before - forget``; a forget metric that rose counts as no drop.

    Args:
        forget_before (float): Metric of the forget classes before the swap.
        forget (float): The same metric now.
        retain (float): Metric of the retain classes now, in the same unit.

    Returns:
        float: The mean, in the unit of the metrics.
    """
    drop = max(forget_before - forget, 0.0)
    return 2 * drop * retain / (drop + retain) if drop + retain > 0 else 0.0


def swap_score(metrics: dict[str, float], scale: float = 100.0) -> float:
    """Harmonic mean of learn, ``scale - forget`` and retain, over the roles that were measured.

    Args:
        metrics (dict[str, float]): Metric by role.
        scale (float): Best possible value of the metric.

    Returns:
        float: 0 to ``scale``.
    """
    parts = [scale - v if role == 'forget' else v for role, v in metrics.items()]
    if not parts or min(parts) <= 0:
        return 0.0
    return len(parts) / sum(1 / part for part in parts)
