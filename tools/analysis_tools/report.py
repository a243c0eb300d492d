"""Makes the report of a run again: `knowswap report`."""

from knowswap_mm.commands.report import main

if __name__ == '__main__':
    main()
