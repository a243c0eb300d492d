"""The default recipe: numbers that a config leaves to ``auto`` (docs/recipe.md)."""

from knowswap_mm.engine.recipe.facts import Facts, PhaseFacts, facts_of
from knowswap_mm.engine.recipe.recipe import Recipe, settle

__all__ = ['Facts', 'PhaseFacts', 'Recipe', 'facts_of', 'settle']
