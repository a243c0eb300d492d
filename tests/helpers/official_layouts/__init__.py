"""The official models: names and shapes by their sources, and straight-line forwards on them."""
