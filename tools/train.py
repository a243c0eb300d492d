"""Trains a swap from a config file: `knowswap train`."""

from knowswap_mm.cli.commands.train import main

if __name__ == '__main__':
    main()
