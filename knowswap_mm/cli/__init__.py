"""How a command line is read; the commands themselves are in ``cli/commands``."""
