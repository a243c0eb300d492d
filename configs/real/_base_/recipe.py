# The recipe of all swaps here: no number is set for a swap.
swap = dict(recipe='auto')
