"""Runs swaps and baselines over seeds and prints one table: `knowswap compare`."""

from knowswap_mm.cli.commands.compare import main

if __name__ == '__main__':
    main()
