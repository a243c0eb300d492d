"""The compiled operators of mmcv."""

from __future__ import annotations

from collections.abc import Iterator

from knowswap_mm.doctor.examination import Check, Finding, one_line
from knowswap_mm.doctor.overlapping_boxes import KEPT, overlapping_boxes
from knowswap_mm.doctor.pip import pip_install
from knowswap_mm.registry import DOCTOR_CHECKS


@DOCTOR_CHECKS.register_module()
class MmcvOperators(Check):
    """Mmcv is compiled for this torch: non-maximum suppression and deformable attention are right.

    Deformable attention, forward and backward, is compared with its formula on the device on which
    a swap would train: the compiled operator on a GPU, mmcv's fallback on a CPU.
    """

    name, order, needs = 'mmcv', 70, ('torch', 'torchvision', 'originals')

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        options = ('--force-reinstall', '--no-deps', '--no-cache-dir', '--no-binary', 'onedl-mmcv')
        fix = pip_install('onedl-mmcv', options=options)
        try:
            yield from self._run(fix)
        except (ImportError, RuntimeError, NotImplementedError, AttributeError) as error:
            text = f'the operators of mmcv do not run with this torch ({one_line(error)})'
            yield Finding('problem', text, f'{fix} (compiles, 5 to 20 minutes)')

    @staticmethod
    def _run(fix: str) -> Iterator[Finding]:
        import torch
        from mmcv.ops import MultiScaleDeformableAttention, nms

        from knowswap_mm.doctor.deformable_attention import worst_error

        kept = nms(*overlapping_boxes(), iou_threshold=0.5)[1].tolist()
        if kept != KEPT:
            yield Finding('problem', f'mmcv.ops.nms kept the boxes {kept}, not {KEPT}', fix)
            return
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        layer = MultiScaleDeformableAttention(32, num_heads=4, num_levels=1).to(device)
        queries = torch.rand(5, 2, 32, device=device)
        values = torch.rand(16, 2, 32, device=device)
        shapes = torch.tensor([[4, 4]], device=device)
        points = torch.rand(2, 5, 1, 2, device=device)
        layer(
            queries,
            value=values,
            reference_points=points,
            spatial_shapes=shapes,
            level_start_index=torch.zeros(1, dtype=torch.long, device=device),
        )
        worst = worst_error(device)
        if worst > 1:
            text = f'deformable attention of mmcv on {device} is {worst:.1f} times off its limit'
            yield Finding('problem', text, fix)
        else:
            text = f'mmcv: non-maximum suppression and deformable attention ({device}) are right'
            yield Finding('ok', text)
