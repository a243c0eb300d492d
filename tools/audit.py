"""Audits a swap: `knowswap audit`."""

from knowswap_mm.cli.commands.audit import main

if __name__ == '__main__':
    main()
