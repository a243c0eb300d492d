"""Converts downloaded data sets: `knowswap data-classification`."""

from knowswap_mm.cli.commands.data_classification import main

if __name__ == '__main__':
    main()
