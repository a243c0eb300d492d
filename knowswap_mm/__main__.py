"""``python -m knowswap_mm``, the same as ``knowswap``."""

from knowswap_mm.command_line.main import main

if __name__ == '__main__':
    main()
