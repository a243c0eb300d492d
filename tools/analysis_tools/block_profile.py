"""Draws where learning and forgetting happened: `knowswap block-profile`."""

from knowswap_mm.cli.commands.block_profile import main

if __name__ == '__main__':
    main()
