"""Converts downloaded data sets: `knowswap data segmentation`."""

from knowswap_mm.cli.commands.data import TASKS

main = TASKS['segmentation'].main

if __name__ == '__main__':
    main()
