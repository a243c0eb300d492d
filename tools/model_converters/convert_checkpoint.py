"""Converts checkpoints of other code, and back: `knowswap convert`."""

from knowswap_mm.cli.commands.convert import main

if __name__ == '__main__':
    main()
