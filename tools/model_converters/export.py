"""Exports a swapped model as a plain host: `knowswap export`."""

from knowswap_mm.cli.commands.export import main

if __name__ == '__main__':
    main()
