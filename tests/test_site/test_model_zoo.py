"""The page of the small models, and the script that writes it."""

import importlib.util
import json
import re
import sys

import pytest

from tests.helpers.doc_blocks import DOCS, REPOSITORY

WEIGHTS = REPOSITORY / 'weights'


@pytest.fixture
def script():
    """The script as a module of its own."""
    spec = importlib.util.spec_from_file_location('zoo', DOCS / 'scripts' / 'model_zoo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date(script):
    assert script.page() == script.PAGE.read_text(), 'Fix: python docs/scripts/model_zoo.py'


def test_page_has_all_weights_and_their_checksums():
    text = (DOCS / 'model_zoo.md').read_text()
    cards = sorted(WEIGHTS.glob('*.json'))
    assert re.findall(r'^## (.+)$', text, re.MULTILINE) == [card.stem for card in cards]
    for card in cards:
        assert json.loads(card.read_text())['file_sha256'] in text
        assert f'`weights/{card.stem}.safetensors`' in text


def test_each_model_has_a_measured_swap():
    parts = (DOCS / 'model_zoo.md').read_text().split('\n## ')[1:]
    for part in parts:
        assert re.search(r'\| \[[\w-]+\]\(\.\./configs/.+ \| [\d.]+ → [\d.]+ \|', part), part[:40]


def test_an_old_page_is_noticed_and_written_anew(script, tmp_path, monkeypatch, capsys):
    script.PAGE = tmp_path / 'model_zoo.md'
    script.PAGE.write_text('# Model zoo\n')
    monkeypatch.setattr(sys, 'argv', ['model_zoo.py', '--check'])
    with pytest.raises(SystemExit, match='not up to date'):
        script.main()
    assert script.PAGE.read_text() == '# Model zoo\n'
    monkeypatch.setattr(sys, 'argv', ['model_zoo.py'])
    script.main()
    assert script.PAGE.read_text() == script.page()


def run_folder(folder, states):
    """What a run leaves, as far as the script reads it."""
    folder.mkdir()
    (folder / 'vit-demo_shapes_learn-forget.py').write_text('')
    metrics = {f'{role}/accuracy/top1': 12.34 for role in ('learn', 'forget', 'retain')}
    results = dict(
        primary_metric='accuracy/top1',
        scale=100.0,
        states={state: dict(iteration=0, metrics=metrics) for state in states},
    )
    (folder / 'swap_results.json').write_text(json.dumps(results))
    phases = [dict(index=0, kind='learn'), dict(index=1, kind='forget')]
    classes = dict(learn=['a'], forget=['b'], retain=['c'])
    (folder / 'schedule.json').write_text(json.dumps(dict(phases=phases, classes=classes)))
    return folder


def test_results_of_a_demo_are_taken_over(script, tmp_path):
    script.DEMOS = tmp_path / 'demos.json'
    script.DEMOS.write_text(json.dumps({'configs/demo/other.py': dict(states={})}))
    script.take_over([run_folder(tmp_path / 'run', ['start', 'phase1_learn', 'phase2_forget'])])
    kept = json.loads(script.DEMOS.read_text())
    assert list(kept) == ['configs/demo/other.py', 'configs/demo/vit-demo_shapes_learn-forget.py']
    run = kept['configs/demo/vit-demo_shapes_learn-forget.py']
    assert run['metric'] == 'top-1 accuracy, %'
    assert run['states']['phase2_forget'] == dict(learn=12.3, forget=12.3, retain=12.3)


def test_a_demo_that_is_not_finished_is_refused(script, tmp_path):
    script.DEMOS = tmp_path / 'demos.json'
    with pytest.raises(SystemExit, match='not finished'):
        script.take_over([run_folder(tmp_path / 'run', ['start', 'phase1_learn'])])
    assert not script.DEMOS.exists()
