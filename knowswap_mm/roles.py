"""The three roles that data plays in a swap, in the order in which a batch holds them."""

from __future__ import annotations

LEARN = 'learn'
FORGET = 'forget'
RETAIN = 'retain'
ROLES = (LEARN, FORGET, RETAIN)
