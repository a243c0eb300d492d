"""Heads of hosts with one thing changed."""

from knowswap_mm.models.heads.labelled_points_head import LabelledPointsMask2FormerHead

__all__ = ['LabelledPointsMask2FormerHead']
