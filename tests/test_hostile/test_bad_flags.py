"""Wrong values of the flags of all tools: a message, no traceback, nothing written.

The last test finds flags that no row gives a wrong value.
"""

import argparse
import re
import runpy

import pytest

from tests.helpers.continual_runs import TOOLS, run_tool

DATA, MODELS = 'dataset_converters', 'model_converters'


@pytest.fixture(scope='module')
def places(config_file, trained, host, picture_tree, tmp_path_factory):
    """What stands for the words in braces below."""
    folder = tmp_path_factory.mktemp('flags')
    (folder / 'file').write_text('')
    (folder / 'empty').mkdir()
    return dict(
        config=config_file,
        state=trained / 'phase2_forget.pth',
        adapter=trained / 'adapter',
        host=host,
        pictures=picture_tree / 'train',
        file=folder / 'file',
        empty=folder / 'empty',
    )


CLASSES = f'{DATA}/classification.py class-folders --source {{pictures}} --out {{out}}'
FASHION = f'{DATA}/fashion_mnist.py --source {{empty}} --out {{out}}'
SHAPES = f'{DATA}/shapes.py --out {{out}} --per-class 2 --val-per-class 1'
SCENES = f'{DATA}/shape_scenes.py --out {{out}} --old 2 --new 2 --val 2 --workers 1'
EXPORT = f'{MODELS}/export.py {{config}} {{state}}'
CONVERT = f'{MODELS}/convert_checkpoint.py official-vit {{host}} --out {{out}}'
COMPARE = 'compare.py --out {out}'
#: A command, and words of its message.
ROWS = [
    ('train.py', 'config'),
    ('train.py {out}', 'no config file'),
    ('train.py {empty}', 'no config file'),
    ('train.py {file}', 'is no config'),
    ('train.py {host}', 'is no config'),
    ('train.py {config} --work-dir {file}', 'work_dir'),
    ('train.py {config} --work-dir {out} --resume {out}', 'but a folder'),
    ('train.py {config} --work-dir {out} --resume {host}', 'no training state'),
    ('train.py {config} --work-dir {out} --load-from {out}', 'but a folder'),
    ('train.py {config} --work-dir {out} --amp', '--amp needs an accelerator'),
    ('train.py {config} --work-dir {out} --auto-scale-lr', 'base_batch_size'),
    ('train.py {config} --no-validate yes', 'unrecognized'),
    ('train.py {config} --launcher mine', 'invalid choice'),
    ('train.py {config} --local-rank a', 'invalid int'),
    ('train.py {config} --local_rank a', 'invalid int'),
    ('train.py {config} --work-dir {out} --cfg-options a', 'cfg-options'),
    ('train.py {config} --work-dir {out} --cfg-options swap.phases.7.iters=1', 'cfg-options swap'),
    ('train.py {config} --work-dir {out} --cfg-options swap.phases=5', 'swap.phases = 5'),
    ('train.py {config} --work-dir {out} --cfg-options model.lora.rank=a', 'model.lora.rank'),
    ('train.py {config} --work-dir {out} --cfg-options work_dir.a.b=1', 'leads to no place'),
    ('train.py {config} --epochs 5', 'unrecognized'),
    ('test.py {config}', 'checkpoint'),
    ('test.py {out} {host}', 'no config file'),
    ('test.py {config} {out} --work-dir {out}', 'checkpoint = .* no such file'),
    ('test.py {config} {empty} --work-dir {out}', 'checkpoint = .* but a folder'),
    ('test.py {config} {host} --work-dir {file}', 'work_dir'),
    ('test.py {config} {host} --work-dir {out} --out {file}/b.json', '--out'),
    ('test.py {config} {host} --work-dir {out} --out {empty}', '--out'),
    ('test.py {config} {host} --work-dir {out} --cfg-options swap.phases.7.a=1', 'cfg-opt'),
    ('test.py {config} {host} --launcher mine', 'invalid choice'),
    ('test.py {config} {host} --local-rank a', 'invalid int'),
    ('test.py {config} {host} --local_rank a', 'invalid int'),
    ('audit.py {config}', 'CHECKPOINT'),
    ('audit.py {config} {state} --reference {out} --out {out}', 'no such file'),
    ('audit.py {config} {state} --original {out} --out {out}', 'no such file'),
    ('audit.py {config} {state} --merged yes', 'no such file|yes'),
    ('audit.py {config} {state} --out {file}', '--out'),
    ('audit.py {config} {state} --out {out} --cfg-options audit.samples=0', 'audit.samples'),
    ('audit.py {config} {state} --out {out} --cfg-options audit.skip=5', 'audit.skip'),
    (COMPARE, '--runs'),
    (f'{COMPARE} --runs a', 'is not NAME=CONFIG'),
    (f'{COMPARE} --runs a={{out}}', 'no config file'),
    (f'{COMPARE} --runs a={{file}}', 'is no config'),
    (f'{COMPARE} --runs a={{config}} --seeds a', 'invalid int'),
    (f'{COMPARE} --runs a={{config}} --seeds -1', '--seeds'),
    (f'{COMPARE} --runs a={{config}} --seeds 1 1', 'share the folder'),
    (f'{COMPARE} --runs a={{config}} --split train', 'invalid choice'),
    (f'{COMPARE} --runs a={{config}} --parallel 0', '--parallel'),
    (f'{COMPARE} --runs a={{config}} --states a', 'unrecognized'),
    (f'{COMPARE} --runs a={{config}} --roles {{out}}', '--roles'),
    ('compare.py --out {file} --runs a={config}', '--out'),
    ('continual.py --work-dir {out}', 'configs'),
    ('continual.py {config}', '--work-dir'),
    ('continual.py {out} --work-dir {out}', 'no config file'),
    ('continual.py {config} --work-dir {out} --through merging', 'invalid choice'),
    ('continual.py {config} --work-dir {file}', '--work-dir'),
    ('continual.py {config} --work-dir {out} --hold a', 'unrecognized'),
    ('continual.py {config} --work-dir {out} --cfg-options work_dir.a.b=1', 'leads to no place'),
    ('demo.py --task pose', 'invalid choice'),
    ('demo.py --data cifar', 'invalid choice'),
    ('demo.py --source {empty}', 'Fashion-MNIST'),
    ('demo.py --work-dir', 'expected one argument'),
    (f'{MODELS}/adapter.py', 'command'),
    (f'{MODELS}/adapter.py show {{empty}}', 'manifest'),
    (f'{MODELS}/adapter.py show {{file}}', 'manifest'),
    (f'{MODELS}/adapter.py apply {{config}} {{empty}} --base {{host}} --out {{out}}', 'manifest'),
    (f'{MODELS}/adapter.py apply {{config}} {{adapter}} --base {{out}} --out {{out}}', 'such file'),
    (f'{MODELS}/adapter.py apply {{config}} {{adapter}} --base {{host}} --out {{file}}/a',
     'written'),
    (f'{MODELS}/adapter.py unload {{config}} {{out}} --out {{out}}', 'no such file'),
    (f'{MODELS}/adapter.py unload {{config}} {{state}} --newest a --out {{out}}', 'unrecognized'),
    (f'{MODELS}/convert_checkpoint.py mine {{host}} --out {{out}}', 'invalid choice'),
    (f'{MODELS}/convert_checkpoint.py official-vit {{host}}', '--out'),
    (CONVERT, 'keys'),
    (f'{CONVERT} --rows a-b', 'keys|rows'),
    (f'{CONVERT} --config {{out}}', 'keys|config'),
    (f'{CONVERT} --adapter {{out}}', 'keys|config'),
    (f'{CONVERT} --alpha a', 'invalid float'),
    (f'{CONVERT} --alpha nan', '--alpha'),
    (f'{CONVERT} --report {{file}}/b.json', '--report'),
    (f'{CONVERT} --back a', 'unrecognized'),
    (f'{CONVERT} --merged a', 'unrecognized'),
    (f'{CONVERT} --no-merged a', 'unrecognized'),
    (f'{CONVERT} --base', 'expected one argument'),
    (f'{CONVERT} --back --base {{out}}', '--base has no meaning with --back'),
    (f'{EXPORT}', '--out'),
    (f'{EXPORT} --out {{empty}}', 'is there already'),
    (f'{EXPORT} --out {{out}} --drop nowhere', '--drop'),
    (f'{EXPORT} --out {{out}} --check -1', '--check'),
    (f'{EXPORT} --out {{out}} --check a', 'invalid int'),
    (f'{EXPORT} --out {{out}} --half a', 'unrecognized'),
    (f'{EXPORT} --out {{out}} --safetensors a', 'unrecognized'),
    (f'{EXPORT} --out {{out}} --test-data a', 'unrecognized'),
    (f'{MODELS}/export.py {{config}} {{host}} --out {{out}}', 'does not name its classes'),
    (f'{EXPORT} --out {{out}} --license Apache_2', "--license = 'Apache_2'"),
    (f'{MODELS}/extract_backbone.py {{host}} --out {{file}}/a.pth', 'written'),
    (f'{MODELS}/extract_backbone.py {{host}} --prefix neck. --out {{out}}', '--prefix'),
    (f'{MODELS}/extract_backbone.py {{out}} --out {{out}}', 'no such file'),
    (f'{MODELS}/publish_weights.py {{host}} --config {{out}} --out a.safetensors', '--config'),
    (f'{MODELS}/publish_weights.py {{host}} --config {{config}} --out {{out}}', '--out'),
    (f'{MODELS}/publish_weights.py {{host}} --config {{config}} --out {{file}}/a.safetensors',
     '--out|written'),
    (f'{MODELS}/publish_weights.py {{host}} --config {{config}} --out a --seed b', 'invalid int'),
    (f'{MODELS}/publish_weights.py {{host}} --config {{config}} --out a --metric b', 'name=number'),
    (f'{FASHION}', 'Fashion-MNIST'),
    (f'{FASHION} --per-class a', 'invalid int'),
    (f'{FASHION} --seed a', 'invalid int'),
    (f'{FASHION} --val-per-class a', 'invalid int'),
    (f'{FASHION} --old a', 'invalid int'),
    (f'{FASHION} --forget cat', 'invalid choice'),
    (f'{SHAPES} --classes 99', '--classes'),
    (f'{SHAPES} --old 0', '--old'),
    (f'{SHAPES} --size 0', 'size'),
    (f'{SHAPES} --size -5', 'size'),
    (f'{SHAPES} --seed -1', 'seed'),
    (f'{DATA}/shapes.py --out {{out}} --per-class 0', 'per.class'),
    (f'{DATA}/shapes.py --out {{out}} --per-class -3', 'per.class'),
    (f'{DATA}/shapes.py --out {{out}} --per-class 2 --val-per-class -1', 'per.class'),
    (f'{DATA}/shapes.py --out {{file}} --per-class 2 --val-per-class 1', 'file'),
    (f'{SCENES} --size 0', '32 px'),
    (f'{SCENES} --size -5', '32 px'),
    (f'{SCENES} --seed -1', 'seed'),
    (f'{DATA}/shape_scenes.py --out {{out}} --workers 0', 'a worker'),
    (f'{DATA}/shape_scenes.py --out {{out}} --old 0', '--old'),
    (f'{DATA}/shape_scenes.py --out {{out}} --old 1 --new -1 --val 2', '--new'),
    (f'{DATA}/shape_scenes.py --out {{out}} --val -2', '--val'),
    (f'{DATA}/shape_scenes.py --out {{file}} --old 2 --new 2 --val 2 --workers 1', 'file'),
    (f'{DATA}/classification.py nowhere --source {{empty}} --out {{out}}', 'invalid choice'),
    (f'{DATA}/classification.py class-folders --source {{empty}} --out {{out}}', 'no image'),
    (f'{DATA}/classification.py class-folders --source {{pictures}} --out {{file}}', 'file'),
    (f'{CLASSES} --classes nowhere', '--classes'),
    (f'{CLASSES} --learn nowhere', '--learn'),
    (f'{CLASSES} --forget nowhere', '--forget'),
    (f'{CLASSES} --learn a --forget b', '--learn'),
    (f'{CLASSES} --per-class 0', '--per-class = 0'),
    (f'{CLASSES} --fraction 0', 'fraction'),
    (f'{CLASSES} --fraction nan', 'fraction'),
    (f'{CLASSES} --seed a', 'invalid int'),
    (f'{CLASSES} --copy a', 'unrecognized'),
    (f'{CLASSES} --layout mine', 'invalid choice'),
    (f'{CLASSES} --val-share 2', 'val.share'),
    (f'{CLASSES} --val-share nan', 'val.share'),
    (f'{CLASSES} --size a', 'invalid int'),
    (f'{CLASSES} --size 0', '--size'),
    (f'{DATA}/detection.py coco --source {{empty}} --out {{out}}', 'lists'),
    (f'{DATA}/detection.py voc --source {{empty}} --out {{out}} --images {{empty}}', '--images'),
    (f'{DATA}/detection.py coco-json --source {{empty}} --out {{out}}', 'no COCO json'),
    (f'{DATA}/segmentation.py masks --source {{empty}} --out {{out}}', 'no classes.txt'),
    (f'{DATA}/classification.py csv --source {{file}} --out {{out}}', 'image,label'),
    (f'{DATA}/segmentation.py voc --source {{empty}} --out {{out}}', 'cannot be read'),
    (f'{DATA}/segmentation.py voc --source {{empty}} --out {{out}} --first-id a', 'invalid int'),
]  # fmt: skip


@pytest.mark.parametrize(('command', 'words'), ROWS, ids=[row[0] for row in ROWS])
def test_wrong_flag(command, words, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / 'out'
    tool, *arguments = (word.format(**places, out=out) for word in command.split())
    with pytest.raises(SystemExit) as caught:
        run_tool(TOOLS / tool, *arguments)
    code = caught.value.code
    message = code if isinstance(code, str) else capsys.readouterr().err
    assert code not in (0, None)
    assert re.search(words, message), message
    written = [p for p in out.rglob('*') if p.suffix in ('.pth', '.safetensors', '.png', '.json')]
    assert not written and not out.is_file()
    assert sorted(path.name for path in places['empty'].parent.iterdir()) == ['empty', 'file']


#: Flags that take anything, or that rows above give as a part of another one's case.
ANYTHING = {'--help', '--sub-command'}


def flags_of(tool):
    """All option strings of a tool's parser."""
    found = []

    class Stop(Exception):
        pass

    def parse(parser, *_):
        stack = [parser]
        while stack:
            for action in stack.pop()._actions:
                found.extend(o for o in action.option_strings if o.startswith('--'))
                if isinstance(action, argparse._SubParsersAction):
                    stack.extend(action.choices.values())
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr('argparse.ArgumentParser.parse_args', parse)
        runpy.run_path(str(tool), run_name='__main__')
    return set(found) - ANYTHING


TOOL_FILES = [
    *TOOLS.glob('*.py'),
    *TOOLS.glob('model_converters/*.py'),
    *TOOLS.glob(f'{DATA}/*.py'),
]


@pytest.mark.parametrize('tool', TOOL_FILES, ids=lambda path: path.name)
def test_every_flag_has_a_row(tool):
    name = str(tool.relative_to(TOOLS))
    given = {
        w for row, _ in ROWS if row.startswith(f'{name} ') for w in row.split() if w[:2] == '--'
    }
    if name.startswith(DATA) and tool.stem in ('detection', 'segmentation'):
        # They share the command of the classification tool.
        given |= {w for w in ' '.join(r for r, _ in ROWS if r.startswith(CLASSES)).split()}
    assert flags_of(tool) <= given
