"""Converts downloaded data sets: `knowswap data classification`."""

from knowswap_mm.cli.commands.data import TASKS

main = TASKS['classification'].main

if __name__ == '__main__':
    main()
