"""An adapter's manifest and history as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowswap_mm.lora.adapter_contents import AdapterContents

_COLUMNS = ('phase', 'kind', 'iterations', 'weights', 'bound', 'seed', 'groups', 'metrics')


def describe_adapter(contents: AdapterContents) -> str:
    """What an adapter is, what it lies on, and what each phase did.

    Args:
        contents (AdapterContents): The folder.

    Returns:
        str: Lines of text; the history is a Markdown table.
    """
    manifest = contents.manifest
    size = sum(tensor.numel() for tensor in contents.matrices.values())
    head = {
        'folder': contents.folder,
        'format': manifest.format,
        'base': manifest.base_sha256[:12],
        'adapter': manifest.adapter_sha256[:12],
        'lies on': ', '.join(parent[:12] for parent in manifest.parents) or 'the base',
        'LoRA': f'{len(manifest.targets)} linears, rank {manifest.rank}, alpha {manifest.alpha:g}, '
        f'{size:,} parameters',
        'classes': f'{manifest.old_classes} before, {manifest.total_classes} after',
        **{role: ', '.join(names) or '-' for role, names in manifest.class_roles.items()},
        'written by': ', '.join(f'{name} {found}' for name, found in manifest.versions.items()),
        'contents': '; '.join(contents.problems()) or 'whole',
    }
    lines = [f'{name:<11} {value}' for name, value in head.items()]
    if manifest.history:
        lines += ['', *_table([_row(entry) for entry in manifest.history])]
        lines += ['', 'groups: smallest / mean / largest norm of the blocks, (n below 1 %)']
    return '\n'.join(lines)


def _row(entry: Mapping[str, Any]) -> list[str]:
    groups, bound = entry['groups'], entry['bound']
    norms = ' / '.join(f'{groups[name]:.3g}' for name in ('smallest', 'mean', 'largest'))
    metrics = ', '.join(f'{role} {value:.1f}' for role, value in entry['metrics'].items())
    weights = ', '.join(f'{name} {value:g}' for name, value in entry['weights'].items() if value)
    return [
        str(entry['name']),
        str(entry['kind']),
        str(entry['iterations']),
        weights,
        '-' if bound is None else f'{bound:g}',
        str(entry['seed']),
        f'{norms} ({groups["small"]} of {groups["number"]})',
        f'{entry["metric"]}: {metrics}' if metrics else 'not measured',
    ]


def _table(rows: list[list[str]]) -> list[str]:
    header = list(_COLUMNS)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return [
        '| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + ' |'
        for row in [header, ['-' * width for width in widths], *rows]
    ]
