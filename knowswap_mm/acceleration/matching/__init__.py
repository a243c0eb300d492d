"""Matching of predictions to objects, and its losses, for all layers and images at once."""
