"""Converts downloaded data sets: `knowswap data detection`."""

from knowswap_mm.cli.commands.data import TASKS

main = TASKS['detection'].main

if __name__ == '__main__':
    main()
