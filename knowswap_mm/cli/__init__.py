"""How a command line is read; the commands themselves are in ``knowswap_mm/commands``."""
