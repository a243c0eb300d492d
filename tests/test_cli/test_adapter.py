"""tools/model_converters/adapter.py on a stack of two swaps."""

import json

import pytest
import torch

from tests.helpers.continual_runs import TOOLS, run_tool, write_configs
from tests.helpers.swap_configs import assert_same_weights, train, weights_of

TOOL = TOOLS / 'model_converters' / 'adapter.py'


@pytest.fixture(scope='module')
def stack(picture_tree, host, tmp_path_factory):
    """The configs and folders of two swaps, the second on the adapter of the first."""
    from mmengine.config import Config

    folder = tmp_path_factory.mktemp('stack')
    paths = write_configs(picture_tree, folder, host, (4, 3))[:2]
    second = Config.fromfile(paths[1])
    second.model.adapters = [str(folder / 'swap1' / 'adapter')]
    second.dump(str(paths[1]))
    for path in paths:
        train(Config.fromfile(path))
    return paths, folder


def adapters(folder):
    return [folder / 'swap1' / 'adapter', folder / 'swap2' / 'adapter']


def test_show(stack, capsys):
    paths, folder = stack
    run_tool(TOOL, 'show', adapters(folder)[1])
    shown = capsys.readouterr().out
    first, second = (json.loads((a / 'manifest.json').read_text()) for a in adapters(folder))
    assert f'lies on     {first["adapter_sha256"][:12]}' in shown
    assert 'classes     6 before, 7 after' in shown and 'contents    whole' in shown
    line = next(line for line in shown.splitlines() if 'phase2_forget' in line)
    metrics = second['history'][1]['metrics']
    assert f'accuracy/top1: learn {metrics["learn"]:.1f}' in line and '| 20 ' in line


def test_apply_gives_the_checkpoint_of_the_swap(stack, host, tmp_path):
    paths, folder = stack
    out = tmp_path / 'swap2.pth'
    run_tool(TOOL, 'apply', paths[1], *adapters(folder), '--base', host, '--out', out)
    wanted = folder / 'swap2' / 'phase2_forget.pth'
    assert_same_weights(weights_of(out), weights_of(wanted))
    # The usual tools take it.
    run_tool(TOOLS / 'model_converters' / 'export.py', paths[1], out, '--out', tmp_path / 'plain')
    assert json.loads((tmp_path / 'plain' / 'classes.json').read_text())['classes'] == list(
        'abcdexy'
    )


def test_unload_gives_the_base_bit_by_bit(stack, host, tmp_path):
    paths, folder = stack
    for number, path in enumerate(paths, 1):
        out = tmp_path / f'base{number}.pth'
        run_tool(TOOL, 'unload', path, folder / f'swap{number}/phase2_forget.pth', '--out', out)
        assert_same_weights(weights_of(out), weights_of(host))


def test_unload_of_the_newest_gives_the_end_of_the_swap_before(stack, tmp_path):
    paths, folder = stack
    out = tmp_path / 'before.pth'
    run_tool(TOOL, 'unload', paths[1], folder / 'swap2/phase2_forget.pth', '--newest', '--out', out)
    run_tool(
        TOOLS / 'model_converters' / 'export.py',
        paths[0],
        folder / 'swap1/phase2_forget.pth',
        '--out',
        tmp_path / 'plain',
    )
    found, wanted = weights_of(out), weights_of(tmp_path / 'plain' / 'model.pth')
    for name, tensor in wanted.items():
        rows = found[name][: len(tensor)] if name.startswith('head') else found[name]
        # The export merges in double precision.
        torch.testing.assert_close(rows, tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_a_wrong_base_is_refused_with_a_message(stack, host, tmp_path):
    paths, folder = stack
    weights = weights_of(host)
    weights['backbone.ln1.bias'] = weights['backbone.ln1.bias'] + 1
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    options = ['--base', tmp_path / 'other.pth', '--out', tmp_path / 'never.pth']
    with pytest.raises(SystemExit, match="CheckpointError.*'base_sha256'"):
        run_tool(TOOL, 'apply', paths[1], *adapters(folder), *options)
    with pytest.raises(SystemExit, match='CheckpointError.*manifest'):
        run_tool(TOOL, 'show', tmp_path)
    assert not (tmp_path / 'never.pth').exists()
