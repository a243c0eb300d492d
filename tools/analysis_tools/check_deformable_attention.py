"""Checks mmcv's multi-scale deformable attention against its formula.

python tools/analysis_tools/check_deformable_attention.py            # CUDA if there is one
python tools/analysis_tools/check_deformable_attention.py --device cpu

Forward and the gradients of values, locations and weights, for several shapes and precisions. On
CUDA hosts run the compiled op, on a CPU mmcv's fallback in PyTorch; the formula is neither of them.
`knowswap doctor` runs the same comparison.
"""

import argparse
import sys

import torch

from knowswap_mm.doctor.deformable_attention import LIMITS, SHAPES, compare, compiled, operator_of


def main() -> None:
    """Prints a table and fails if an error is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=default)
    device = parser.parse_args().device
    op = operator_of(device)
    print(
        f'device {device}: {"compiled CUDA op" if op is compiled else "PyTorch fallback of mmcv"}'
    )
    worst = 0.0
    for dtype, limit in LIMITS.items():
        for shape in SHAPES:
            errors = compare(op, shape, dtype, device)
            worst = max(worst, *(error / limit for error in errors.values()))
            text = ', '.join(f'{name} {error:.1e}' for name, error in errors.items())
            print(f'{str(dtype).removeprefix("torch."):8} {shape}: {text}')
    if worst > 1:
        sys.exit('The op does not match its formula. Fix: build mmcv for this torch and this GPU.')
    print('The op matches its formula.')


if __name__ == '__main__':
    main()
