"""Processes that train together, and how they end."""
