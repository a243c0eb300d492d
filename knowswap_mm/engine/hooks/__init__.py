"""Hooks of a swap."""
