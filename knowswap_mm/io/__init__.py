"""Every byte in or out: safe reading, limits, and files that are whole or absent."""
