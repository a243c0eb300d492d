"""Heads of hosts with one thing changed."""

from knowswap_mm.models.heads.labelled_points import LabelledPointsMask2FormerHead

__all__ = ['LabelledPointsMask2FormerHead']
