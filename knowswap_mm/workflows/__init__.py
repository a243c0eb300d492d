"""Swaps and baselines over seeds, several at a time, and one table of their results."""
