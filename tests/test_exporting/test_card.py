"""The model card: what hubs read of an export, and what people do."""

import json
import shutil

import pytest
import yaml

from knowswap_mm.exporting.card import ModelCard
from knowswap_mm.runs.results import SwapResults
from tests.helpers.exports import export
from tests.helpers.swap_configs import FORGOTTEN, NEW


def card_of(folder):
    """Metadata and text of a card."""
    start, head, body = (folder / 'README.md').read_text().split('---\n', 2)
    assert start == ''
    return yaml.safe_load(head), body


def test_the_card_of_a_swap(classifier, tmp_path):
    _, config, checkpoint = classifier
    export(config, checkpoint, tmp_path / 'mine', '--check', '0', '--license', 'mit')
    head, body = card_of(tmp_path / 'mine')
    assert head['license'] == 'mit' and head['library_name'] == 'mmpretrain'
    assert head['pipeline_tag'] == 'image-classification' and head['base_model'] == 'host'
    assert {'mmpretrain', 'knowledge-swapping', 'machine-unlearning'} <= set(head['tags'])
    states = json.loads((checkpoint.parent / 'swap_results.json').read_text())['states']
    (model,) = head['model-index']
    assert model['name'] == 'mine' and len(model['results']) == 3
    for role, result in zip(('learn', 'forget', 'retain'), model['results'], strict=True):
        wanted = states['phase2_forget']['metrics'][f'{role}/accuracy/top1']
        (metric,) = result['metrics']
        assert metric == dict(
            type='accuracy/top1', name=f'{role}, %', value=pytest.approx(wanted, abs=0.01)
        )
        assert f'| {role} | {states["start"]["metrics"][f"{role}/accuracy/top1"]:.1f} |' in body
    assert f'- learn: {", ".join(NEW)}' in body and f'- forget: {FORGOTTEN}' in body
    assert 'of answers, not erasure' in body and 'Without a row' not in body
    assert str(tmp_path) not in body and 'Licence: mit.' in body


def test_figures_are_those_of_the_checkpoint_or_none(classifier, tmp_path):
    """Of an earlier phase, its own; of a checkpoint in the folder of another run, none."""
    _, config, checkpoint = classifier
    export(config, checkpoint.with_name('phase1_learn.pth'), tmp_path / 'one', '--check', '0')
    states = json.loads((checkpoint.parent / 'swap_results.json').read_text())['states']
    head, _ = card_of(tmp_path / 'one')
    values = [each['metrics'][0]['value'] for each in head['model-index'][0]['results']]
    wanted = states['phase1_learn']['metrics']
    assert values == pytest.approx(
        [wanted[f'{role}/accuracy/top1'] for role in ('learn', 'forget', 'retain')], abs=0.01
    )
    other = tmp_path / 'other'
    other.mkdir()
    for name in ('phase2_forget.pth', 'swap_results.json', 'run.json'):
        shutil.copy(checkpoint.with_name(name), other)
    record = json.loads((other / 'run.json').read_text())
    (other / 'run.json').write_text(json.dumps(record | dict(run='another')))
    export(config, other / checkpoint.name, tmp_path / 'two', '--check', '0', '--drop', 'forgotten')
    head, body = card_of(tmp_path / 'two')
    assert 'model-index' not in head and 'did not evaluate this checkpoint' in body
    assert head['license'] == 'unknown' and 'not stated' in body
    assert f'Without a row in the head: {FORGOTTEN}.' in body


def test_cards_of_the_other_tasks(detector, segmentor, tmp_path):
    tasks = ['object-detection', 'image-segmentation']
    for (_, config, checkpoint), task in zip((detector, segmentor), tasks, strict=True):
        export(config, checkpoint, tmp_path / task, '--check', '0')
        head, body = card_of(tmp_path / task)
        assert head['pipeline_tag'] == task and head['library_name'] in body


def test_names_break_out_of_nothing():
    names = ['a|b', '<script>', '# x\n---\nlicense: mit', '`']
    results = SwapResults('m')
    results.add('end', 3, {'learn/m': 5.0, 'forget/m': float('nan')})
    classes = dict(learn=names, forget=[], retain=['n'] * 70)
    card = ModelCard('x\n---\nlicense: mit', 'mmdet', '/a/b c`.pth', 'unknown', classes,
                     measured=(results, 'end'))  # fmt: skip
    start, head, body = card.text().split('---\n', 2)
    metadata = yaml.safe_load(head)
    assert start == '' and metadata['license'] == 'unknown' and metadata['base_model'] == 'b-c'
    (result,) = metadata['model-index'][0]['results']
    assert result['metrics'][0]['value'] == 5.0
    assert '<script' not in body and '\nlicense: mit' not in body and '/a/' not in body
    assert 'and 20 more' in body and 'What forgetting means' not in body
