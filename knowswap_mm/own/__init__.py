"""Swaps of your own model and data without a config: for the commands swap, init, predict."""
