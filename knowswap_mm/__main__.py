"""``python -m knowswap_mm``, the same as ``knowswap``."""

from knowswap_mm.cli.main import main

if __name__ == '__main__':
    main()
