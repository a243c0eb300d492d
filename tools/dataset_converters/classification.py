"""Converts downloaded data sets: `knowswap data-classification`."""

from knowswap_mm.commands.data_classification import main

if __name__ == '__main__':
    main()
