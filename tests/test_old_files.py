"""Files that an earlier version wrote: resumed, loaded, reported and audited as then.

``old_files`` is the folder of a finished swap over ``picture_tree`` at version 0.1.0, before the
modules moved to the present layout (issue 25): the user's config, the host, the run with one
checkpoint in its second phase, its adapter, and the audit of the last phase. Paths in it are
relative. Never write these files anew: their age is what they are for.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from knowswap_mm.cli.main import main
from knowswap_mm.io.checkpoints import safe_load

OLD_FILES = Path(__file__).parent / 'old_files'
LAST = Path('run') / 'phase2_forget.pth'


@pytest.fixture(autouse=True)
def here(picture_tree, tmp_path, monkeypatch):
    """The old files and the images of their run in the current folder."""
    shutil.copytree(OLD_FILES, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'pictures').symlink_to(picture_tree)
    monkeypatch.chdir(tmp_path)


def read(path):
    return json.loads(Path(path).read_text())


def test_a_run_goes_on_from_its_checkpoint():
    wanted, results = safe_load(LAST)['state_dict'], read('run/swap_results.json')
    LAST.unlink()
    Path('run/last_checkpoint').write_text('run/iter_6.pth')
    shutil.rmtree('run/adapter')
    main(['train', 'swap.py', '--resume'])
    found = safe_load(LAST)['state_dict']
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():  # of another processor, perhaps: not bit by bit
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-4, msg=name)
    states = read('run/swap_results.json')['states']
    assert list(states) == list(results['states'])
    for name, state in results['states'].items():
        found = {key: states[name]['metrics'][key] for key in state['metrics']}
        assert found == pytest.approx(state['metrics'], nan_ok=True)
    assert read('run/starts.json')[-1]['iteration'] == 6


def test_an_adapter_loads():
    main(['adapter', 'apply', 'swap.py', 'run/adapter', '--base', 'host.pth', '--out', 'new.pth'])
    found, wanted = safe_load('new.pth')['state_dict'], safe_load(LAST)['state_dict']
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_run_is_reported():
    old = read('run/report.json')
    main(['report', 'run'])
    new = read('run/report.json')
    assert set(new) == {*old, 'about'}
    assert list(new['about']) == ['Config', 'Classes', 'Date']  # its model was not noted then
    # Captions may say it in other words; the figures are those of the time.
    for section in ('answer', 'phases', 'losses', 'where', 'data', 'cost'):
        assert numbers(new[section]) == pytest.approx(numbers(old[section])), section
    page = Path('run/report.html').read_text()
    assert page.count('data:image/webp') >= 12 and 'train.py' in page


def numbers(value):
    """All numbers in a structure, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def test_a_checkpoint_is_audited():
    parts = 'audit.parts=[Answers,DroppedAdapter,Drift]'
    main(['audit', 'swap.py', str(LAST), '--out', 'audit', '--cfg-options', parts])
    old, new = read('audit.json'), read('audit/phase2_forget/audit.json')
    assert new['headline'] == old['headline']
    found = [(f['attack'], f['verdict'], f['after']) for f in new['findings']]
    assert found == [(f['attack'], f['verdict'], f['after']) for f in old['findings']]
    assert len(new['tables']) == len(old['tables'])
    for one, other in zip(new['tables'], old['tables'], strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=1e-4)
