"""Swaps a small pretrained model on the CPU: `knowswap demo`."""

from knowswap_mm.cli.commands.demo import main

if __name__ == '__main__':
    main()
