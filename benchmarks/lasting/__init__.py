"""How lasting forgetting is: references, swaps by several objectives, audits, and their table."""
