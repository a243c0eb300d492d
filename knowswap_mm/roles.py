"""The three roles that data plays in a swap, in the order in which a batch holds them."""

from __future__ import annotations

LEARN = 'learn'
FORGET = 'forget'
RETAIN = 'retain'
ROLES = (LEARN, FORGET, RETAIN)
#: Behind the name of a metric: the same where no forgotten class is. What was forgotten is called
#: something else, which counts against the classes that it is called.
APART = '_apart'
