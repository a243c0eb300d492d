"""Straight-line forwards on state dicts of the official layouts, written from the formulas."""
