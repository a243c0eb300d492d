"""Converts downloaded data sets: `knowswap data-segmentation`."""

from knowswap_mm.cli.commands.data_segmentation import main

if __name__ == '__main__':
    main()
