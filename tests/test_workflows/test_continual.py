"""Three swaps in a row, through the exported model and through a stack of adapters."""

import json

import pytest
import torch
from mmengine.config import Config

from knowswap_mm.errors import SwapError
from knowswap_mm.lora import AdapterManifest
from knowswap_mm.workflows.continual import check_done
from tests.helpers.continual_runs import add_class, continual, write_configs
from tests.helpers.swap_configs import pretrain_host, weights_of


@pytest.fixture(scope='module')
def material(picture_tree, tmp_path_factory):
    """Configs of the three swaps and their folder."""
    folder = tmp_path_factory.mktemp('continual')
    tree = add_class(picture_tree, folder / 'pictures')
    host = pretrain_host(tree, folder / 'host.pth')
    return write_configs(tree, folder, host, (15, 40)), folder


@pytest.fixture(scope='module', params=['export', 'adapters'])
def chain(request, material):
    """A finished chain."""
    configs, folder = material
    work = folder / request.param
    arguments = [*configs, '--work-dir', work, '--through', request.param]
    return arguments, work, continual(*arguments)


def states_of(work):
    return json.loads((work / 'continual.json').read_text())['states']


def test_every_class_is_followed_through_all_swaps(chain):
    _, work, _ = chain
    start, *swaps = states_of(work)
    assert set(start['classes']) == set('abcde')
    assert [set(state['classes']) for state in swaps] == [
        set('abcdex'),
        set('abcdexy'),
        set('abcdexyz'),
    ]
    assert swaps[2]['groups'] == dict(
        a='retain',
        b='earlier',
        c='retain',
        d='forget',
        e='retain',
        x='earlier',
        y='retain',
        z='learn',
    )


def test_each_swap_learns_forgets_and_retains(chain):
    """Colours are easy: chance is at most 20 %, the start above 90 %."""
    _, work, _ = chain
    for state in states_of(work)[1:]:
        assert state['means']['learn'] > 80, state
        assert state['means']['forget'] < 20, state
        assert state['means']['retain'] > 60, state


def test_what_an_earlier_swap_forgot_is_held(material, tmp_path, capsys):
    configs, _ = material
    options = ['--cfg-options', 'model.lora.rank=3']
    continual(*configs[:2], '--work-dir', tmp_path, '--hold', *options)
    groups = states_of(tmp_path)[-1]['groups']
    assert [name for name in groups if groups[name] == 'forget'] == ['b', 'x']
    config = Config.fromfile(tmp_path / 'swap2.py')
    assert config.swap.classes.forget == ['x', 'b'] and config.model.lora.rank == 3
    assert 'held down' not in capsys.readouterr().out
    with pytest.raises(SystemExit, match='--work-dir.*holds another swap.* options'):
        continual(*configs[:2], '--work-dir', tmp_path)


def test_a_finished_chain_is_not_run_again(chain, capsys):
    arguments, work, commands = chain
    exports = 2 if 'export' in arguments else 0
    assert len(commands) == 1 + 3 * 2 + exports
    before = states_of(work)
    assert continual(*arguments) == []
    assert states_of(work) == before
    assert 'Forgotten earlier, and held down by nothing since: b, x.' in capsys.readouterr().out


def test_an_interrupted_chain_goes_on(chain):
    arguments, work, _ = chain
    before = states_of(work)
    (work / 'swap3' / 'all_classes.json').unlink()
    (work / 'swap3' / 'adapter' / 'manifest.json').unlink()
    commands = continual(*arguments)
    assert [command[0] for command in commands] == ['train', 'test']
    assert states_of(work) == before


def test_the_stack_lies_on_the_base(chain):
    arguments, work, _ = chain
    if 'export' in arguments:
        pytest.skip('about the stack')
    manifests = [
        AdapterManifest.read(work / f'swap{i}' / 'adapter/manifest.json') for i in (1, 2, 3)
    ]
    assert len({manifest.base_sha256 for manifest in manifests}) == 1
    hashes = [manifest.adapter_sha256 for manifest in manifests]
    assert [manifest.parents for manifest in manifests] == [hashes[:i] for i in range(3)]
    weights = weights_of(work / 'swap3' / 'phase2_forget.pth')
    assert {key.split('.')[-2] for key in weights if '.lora_A.' in key} == {
        'swap1',
        'swap2',
        'default',
    }
    earlier = weights_of(work / 'swap1' / 'phase2_forget.pth')
    for key, tensor in earlier.items():
        if '.default.' in key:
            assert torch.equal(weights[key.replace('.default.', '.swap1.')], tensor), key


def test_a_folder_of_another_chain_is_refused(chain):
    arguments, _, _ = chain
    other = {'export': 'adapters', 'adapters': 'export'}[arguments[-1]]
    with pytest.raises(SystemExit, match='--work-dir.*holds another swap'):
        continual(*arguments[:-1], other)


def test_classes_must_follow_one_another(material, tmp_path):
    configs, _ = material
    with pytest.raises(SystemExit, match=r'swap\.classes\.old.*does not follow'):
        continual(configs[0], configs[2], '--work-dir', tmp_path)
    config = Config.fromfile(configs[1])
    del config.swap.classes['retain']
    config.dump(str(tmp_path / 'config2.py'))
    with pytest.raises(SystemExit, match=r"swap\.classes\.retain.*\['b'\] were forgotten"):
        continual(configs[0], tmp_path / 'config2.py', '--work-dir', tmp_path / 'work')


def test_a_swap_that_its_guard_stopped_ends_the_chain(chain, tmp_path):
    _, work, _ = chain
    schedule = json.loads((work / 'swap1' / 'schedule.json').read_text())
    (tmp_path / 'schedule.json').write_text(json.dumps(schedule))
    check_done(tmp_path)
    stop = dict(at=5, phase=0, kind='stop', to=3, reason='retain rose by 2 nats')
    (tmp_path / 'schedule.json').write_text(json.dumps(dict(schedule, decisions=[stop])))
    with pytest.raises(SwapError, match='after iteration 5 .*retain rose by 2 nats.* Fix: '):
        check_done(tmp_path)
