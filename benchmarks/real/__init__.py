"""Swaps on real images: what is run, how, and the table of it."""
