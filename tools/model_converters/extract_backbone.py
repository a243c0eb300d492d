"""Takes the backbone out of a model's weights, to start another host from it.

    python tools/model_converters/extract_backbone.py weights/dino-mini_12cls.safetensors \
        --out work_dirs/dino-mini_swin.pth

Output norms of stages (`norm0`, `norm1`, ...) stay behind: hosts that read other
stages have others.
"""

import argparse
import re
import sys
from pathlib import Path

from knowswap_mm.errors import ConfigError, SwapError
from knowswap_mm.io.checkpoints import safe_load, safe_save, state_dict_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='weights of a backbone alone')
    parser.add_argument('weights', type=Path, help='a .safetensors or .pth file')
    parser.add_argument('--prefix', default='backbone.', help='where the backbone is in it')
    parser.add_argument('--out', type=Path, required=True, help='a .pth file')
    return parser.parse_args()


def extract(args: argparse.Namespace) -> None:
    """Writes the backbone's weights."""
    state = state_dict_of(safe_load(args.weights))
    backbone = {
        key[len(args.prefix) :]: value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if key.startswith(args.prefix) and not re.fullmatch(r'norm\d+\..*', key[len(args.prefix) :])
    }
    if not backbone:
        fix = 'give what the names of its tensors begin with'
        raise ConfigError('--prefix', args.prefix, f'{args.weights} has no such key', fix)
    safe_save(dict(state_dict=backbone), args.out)
    print(f'{args.out}: {len(backbone)} tensors')


def main() -> None:
    args = parse_args()
    try:
        extract(args)
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
