"""Evaluates a checkpoint of a swap, or the pretrained host, by role: `knowswap test`."""

from knowswap_mm.cli.commands.test import main

if __name__ == '__main__':
    main()
