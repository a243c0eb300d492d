"""The commands of ``knowswap``, one file each; ``COMMAND`` in it says all that the parser needs.

A command imports what it works with when it runs, so that help and completion come at once.
"""
