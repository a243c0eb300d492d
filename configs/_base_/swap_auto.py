# A swap whose numbers the recipe chooses (docs/recipe.md): what remains to be said is the host, the data and the classes.
# Any number can be given all the same, and wins.
_base_ = ['./swap_runtime.py']
model = dict(type='knowswap_mm.KnowledgeSwapper', lora=dict())
swap = dict(recipe='auto', order='learn-forget')
