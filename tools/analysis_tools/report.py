"""Makes the report of a run again: `knowswap report`."""

from knowswap_mm.cli.commands.report import main

if __name__ == '__main__':
    main()
