"""Converts downloaded data sets: `knowswap data-detection`."""

from knowswap_mm.cli.commands.data_detection import main

if __name__ == '__main__':
    main()
