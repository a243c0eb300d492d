"""Runs several swaps in a row: `knowswap continual`."""

from knowswap_mm.cli.commands.continual import main

if __name__ == '__main__':
    main()
