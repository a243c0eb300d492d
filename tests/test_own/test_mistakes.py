"""Mistakes of the commands without a config: five lines at most, with the fix; nothing is left."""

import re
import shutil

import pytest
import torch
from PIL import Image

from knowswap_mm.cli.main import main
from tests.helpers import own_data
from tests.helpers.swap_configs import swap_config, write_config
from tests.helpers.tiny_hosts import swin_host


@pytest.fixture(scope='module')
def places(told, picture_tree, host, swapped, tmp_path_factory):
    """What stands for the words in braces below."""
    root = tmp_path_factory.mktemp('mistakes')
    given = told('mmpretrain')
    for name in ('empty', 'bare', 'two_roles', 'broken/zz', 'half_test', 'one'):
        (root / name).mkdir(parents=True)
    for letter in 'xb':
        shutil.copytree(picture_tree / 'val' / letter, root / 'two_roles' / letter)
    shutil.copytree(picture_tree / 'val' / 'x', root / 'half_test' / 'x')
    for number in range(5):
        Image.new('RGB', (16, 16)).save(root / 'bare' / f'{number}.png')
        (root / 'broken' / 'zz' / f'{number}.png').write_bytes(b'no image')
    shutil.copytree(root / 'bare', root / 'known' / 'a')
    shutil.copy(root / 'bare' / '0.png', (root / 'one' / 'z').with_suffix('.png'))
    (root / 'single' / 'z').mkdir(parents=True)
    shutil.copy(root / 'bare' / '0.png', root / 'single' / 'z' / '0.png')
    (root / 'file').write_text('')
    state = torch.load(host, weights_only=True)['state_dict']
    wider = {k: torch.cat([v, v])[:7] if k.startswith('head.') else v for k, v in state.items()}
    torch.save(dict(state_dict=wider), root / 'seven.pth')
    from mmengine.registry import MODELS

    torch.save(dict(state_dict=MODELS.build(swin_host(5)).state_dict()), root / 'swin.pth')
    moved = given['model'].read_text().replace(str(given['model'].parent), '/nowhere')
    (root / 'moved.py').write_text(moved)
    swap = write_config(swap_config(picture_tree, root / 'w', host=host), root / 'swap.py')
    return dict(
        model=given['model'],
        checkpoint=host,
        learn=given['learn'],
        swap=swap,
        run=swapped('mmpretrain'),
        root=root,
        pictures=picture_tree / 'val',
    )


#: Options that are changed (``-`` leaves one out), and words of the message.
ROWS = [
    ('--forget bb', "did you mean one of ['b'"),
    ('--forget a b c d e', 'leave some to retain'),
    ('--forget b,b', "'b' is listed twice"),
    ('--model {root}', 'is a folder. Fix: give the config file'),
    ('--model {root}/nothing.py', 'there is no such file'),
    ('--model {root}/file', 'is no config'),
    ('--model {swap}', 'is the config of a swap. Fix: give the config.py of an export'),
    ('--model {root}/moved.py', 'the data that its config names is not there: /nowhere'),
    ('--model {root}/moved.py --classes a b c d e', '--data DATA, or fix the path'),
    ('--model timm:resnet50', 'vit_small_patch16_224'),
    ('--checkpoint -', '--checkpoint FILE'),
    ('--checkpoint {root}', 'no file but a folder'),
    ('--checkpoint {root}/nothing.pth', 'no such file'),
    ('--checkpoint {root}/file', 'damaged'),
    ('--checkpoint {root}/seven.pth', 'it has 7 classes, and the model 5'),
    ('--checkpoint {root}/swin.pth', 'the config and the checkpoint of one training'),
    ('--learn {root}/nothing', '--learn.*is not there'),
    ('--learn {root}/empty', 'the folder is empty'),
    ('--learn {root}/bare', 'has images without classes. Fix: put them into a folder for each'),
    ('--learn {root}/bare/0.png', 'is one image'),
    ('--learn {root}/file', 'a folder with a folder for each class'),
    ('--learn {root}/known', 'all its classes are known already'),
    ('--learn {root}/single', 'too few to train and to test'),
    ('--learn {root}/broken', 'broken: the data cannot be used'),
    ('--learn {root}/two_roles', "'b': is to be forgotten, and the learn data has it, too"),
    ('--learn {detector}', 'looks like COCO json, for a detector. Fix: give a classifier'),
    ('--learn {segmentor}', 'looks like masks, for a segmentor'),
    ('--learn - --forget -', 'nothing is to be learned or forgotten'),
    ('--new X', "did you mean one of ['x'"),
    ('--new x --test {root}/bare', 'has images without classes'),
    ('--test {root}/half_test', 'it has images of some classes, and none of'),
    ('--data {root}/half_test', 'has no class to retain'),
    ('--classes a b', 'the head has 5 classes (--classes names 2)'),
    ('--out {run}', 'holds another run or other files. Fix: give a new folder, or go on'),
    ('--out {root}/file', 'is a file'),
    ('--iters 0', 'not an integer >= 1'),
    ('--batch-size 1', 'not an integer >= 2'),
    ('--device cuda', 'there is no GPU. Fix: use --device cpu'),
    ('--forgot b', 'unrecognized arguments: --forgot'),
    ('--cfg-options work_dir.a.b=1', '--cfg-options work_dir.a.b'),
]
PREDICT = [
    ('{root}/empty {pictures}', 'holds neither a run nor an export'),
    ('{model} {pictures}', 'add --checkpoint FILE'),
    ('{run} {root}/nothing.png', 'there is no such file'),
    ('{run} {root}/empty', 'the folder has no images'),
    ('{run} {root}/broken/zz/0.png', 'the image cannot be read'),
    ('{run} {pictures} --out {run}', 'is there already. Fix: give a new folder'),
    ('{run} {pictures} --top 0', 'not an integer >= 1'),
    ('{run} {pictures} --score 2', 'not in [0, 1]'),
    ('{run} {pictures} --checkpoint {checkpoint}', 'does not name its classes'),
]


def check(arguments, words, capsys):
    """The message of a command, which ends with an error."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr().err
    code = caught.value.code
    message = code if isinstance(code, str) else said
    assert code not in (0, None)
    found = words in message or re.search(words.replace('(', r'\('), message)
    assert found, message
    assert len(message.strip().splitlines()) <= 5, message
    assert 'Fix:' in message or 'error:' in message


@pytest.mark.parametrize(('changes', 'words'), ROWS, ids=[row[0] for row in ROWS])
def test_a_mistake_is_answered_with_its_fix(changes, words, places, told, tmp_path, capsys):
    other = dict(detector='mmdet', segmentor='mmseg')
    named = {n: told(scope)['learn'] for n, scope in other.items() if f'{{{n}}}' in changes}
    given = {name: places[name] for name in ('model', 'checkpoint', 'learn')}
    given.update(forget='b', out=tmp_path / 'out')
    arguments = own_data.words(given)
    for option, *values in re.findall(r'(--[\w-]+)((?: (?!--)\S+)*)', changes):
        values = [v.format(**places, **named) for v in values[0].split()]
        if option in arguments:
            place = arguments.index(option)
            del arguments[place : place + 2]
        arguments += [option, *values] if values != ['-'] else []
    check(['init', *arguments], words, capsys)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('words', 'message'), PREDICT, ids=[row[0] for row in PREDICT])
def test_a_mistake_of_predict(words, message, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check(['predict', *(word.format(**places) for word in words.split(' '))], message, capsys)
    assert not list(tmp_path.iterdir())
