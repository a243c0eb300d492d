"""Shows, applies and unloads adapters: `knowswap adapter`."""

from knowswap_mm.cli.commands.adapter import main

if __name__ == '__main__':
    main()
