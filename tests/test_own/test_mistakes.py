"""Mistakes of the commands without a config: five lines at most, with the fix; nothing is left."""

import json
import re
import shutil

import pytest
import torch
from mmengine.config import Config
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

    swin = dict(state_dict=MODELS.build(swin_host(5)).state_dict())
    torch.save(swin, root / 'swin.pth')
    torch.save(dict(swin, meta=dict(dataset_meta=dict(classes=[*'abcde']))), root / 'other.pth')
    moved = given['model'].read_text().replace(str(given['model'].parent), '/nowhere')
    (root / 'moved.py').write_text(moved)
    swap = write_config(swap_config(picture_tree, root / 'w', host=host), root / 'swap.py')
    export = dict(default_scope='mmpretrain', model=swin_host(5))
    write_config(Config(export), root / 'exported' / 'config.py')
    shutil.copy(root / 'swin.pth', root / 'exported' / 'model.pth')
    for name, box in dict(shares=(0.1, 0.2, 0.5, 0.6), beside=(1, 1, 8, 8)).items():
        (root / name).mkdir()
        shutil.copy(root / 'bare' / '0.png', root / name / 'a.png')
        (root / name / 'a.xml').write_text(XML.format(*box))
    for name in ('images', 'masks'):
        shutil.copytree(root / 'beside', root / 'coloured' / name)
    (root / 'coloured' / 'classes.txt').write_text('sky')
    shutil.copytree(root / 'bare', root / 'own' / 'photos' / 'a')
    (root / 'corners.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=1, file_name='0.png', width=16, height=16)],
                annotations=[dict(id=1, image_id=1, category_id=1, bbox=[8, 8, 15, 15])],
                categories=[dict(id=1, name='cat')],
            )
        )
    )
    return dict(
        model=given['model'],
        checkpoint=host,
        learn=given['learn'],
        swap=swap,
        run=swapped('mmpretrain'),
        root=root,
        pictures=picture_tree / 'val',
    )


XML = """<annotation><filename>a.png</filename><object><name>cat</name><bndbox><xmin>{}</xmin>
<ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object></annotation>"""
#: Options that are changed (``-`` leaves one out), and words of the message.
ROWS = [
    ('--forget bb', "did you mean one of ['b'"),
    ('--forget a b c d e', 'leave some to retain'),
    ('--forget b,b', "'b' is listed twice"),
    ('--model {root}', 'is a folder. Fix: give the config file'),
    ('--model {root}/nothing.py', 'there is no such file'),
    ('--model {root}/swin.pth', 'is a file of weights. Fix: give the config file'),
    ('--checkpoint {model}', 'is not what torch.save writes). Fix: give a .pth'),
    ('--checkpoint {root}/exported', 'give a file in it, .*model.pth'),
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
    ('--deep --forget -', '--deep = True: nothing is to be forgotten'),
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
    ('{run}/phase2_forget.pth {pictures}', 'predict {run} IMAGES --checkpoint {run}/phase2'),
    ('{root}/exported/model.pth {pictures}', 'predict {root}/exported IMAGES.'),
    ('{run} {pictures} --checkpoint {run}/nothing.pth', '--checkpoint = .* no such file'),
    ('{run} {root}/nothing.png', 'there is no such file'),
    ('{run} {root}/empty', 'the folder has no images'),
    ('{run} {root}/broken/zz/0.png', 'the image cannot be read'),
    ('{run} {pictures} --out {run}', 'is there already. Fix: give a new folder'),
    ('{run} {pictures} --top 0', 'not an integer >= 1'),
    ('{run} {pictures} --score 2', 'not in [0, 1]'),
    ('{run} {pictures} --checkpoint {checkpoint}', 'does not name its classes'),
]
RUN = '{run}/config.py {run}/phase2_forget.pth'
#: Of other commands, from data to an export.
OTHERS = [
    ('export {run} {run}/phase2_forget.pth --out {out}', 'the one in this folder, .*config'),
    ('export {run}/phase2_forget.pth {run}/config.py --out {out}', 'but a file of weights'),
    ('export {run}/config.py {run} --out {out}', 'checkpoint = .*a file in it, .*phase2_forget'),
    ('export {run}/config.py {other} --out {out}', 'does not fit the model.* and \\d+ more'),
    ('export {root}/exported/config.py {other} --out {out}', 'describes no swap'),
    ('test {run}/config.py {run} --work-dir {out}', 'checkpoint = .*give a file in it'),
    ('test {run}/config.py {other} --work-dir {work}', 'does not fit the model.* Fix: give the co'),
    ('test {root}/exported/config.py {other} --work-dir {out}', 'no test either'),
    ('audit {run}/config.py {run} --out {out}', 'CHECKPOINT = .*give a file in it'),
    ('audit {root}/exported/config.py {other} --out {out}', 'describes no swap'),
    (f'audit {RUN} --reference {{run}}/phase2_forget.pth --out {{out}}', 'that is audited'),
    (f'audit {RUN} --reference {{root}}/no.pth --out {{out}}', '--reference = .*no such file'),
    (f'audit {RUN} --original {{root}}/empty --out {{out}}', '--original = .*but a folder'),
    ('data detection voc --source {root}/shares --out {out}', 'shares of the image. Fix: mult'),
    ('data detection voc --source {root}/nothing --out {out}', '--source = .*is not there'),
    ('data detection coco-json --source {root}/corners.json --images {root}/bare --out {out}',
     '--source = .*two corners'),
    ('data detection voc --source {root}/beside --fraction 20 --out {out}', '--fraction = 20.0'),
    ('data detection voc --source {root}/beside --per-class 0 --out {out}', '--per-class = 0'),
    ('data detection voc --source {root}/beside --forget Cat --out {out}', "mean one of ['cat']"),
    ('data segmentation masks --source {root}/coloured --out {out}', 'has colours. Fix: save'),
    ('data classification class-folders --source {root}/own/photos --out {root}/own/photos',
     '--out = .*holds the source. Fix: give a new folder'),
    ('data classification class-folders --source {root}/own/photos --out {root}/own',
     'holds the source'),
    ('init --model {detector} --checkpoint {weights} --learn {root}/corners.json --images '
     '{root}/bare --out {out}', '--learn = .*two corners'),
]  # fmt: skip


def check(arguments, words, capsys):
    """The message of a command, which ends with an error."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr().err
    code = caught.value.code
    message = code if isinstance(code, str) else said
    assert code not in (0, None)
    found = words in message or re.search(words.replace('(', r'\('), message, re.DOTALL)
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
    arguments = ['predict', *(word.format(**places) for word in words.split(' '))]
    check(arguments, message.format(**places), capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('words', 'message'), OTHERS, ids=[row[0] for row in OTHERS])
def test_a_mistake_of_another_command(words, message, places, told, tmp_path, capsys):
    more = dict(out=tmp_path / 'out', work=tmp_path / 'work', other=places['root'] / 'other.pth')
    if '{detector}' in words:
        given = told('mmdet')
        more.update(detector=given['model'], weights=given['checkpoint'])
    before = sorted(places['root'].rglob('*'))
    check([word.format(**places, **more) for word in words.split()], message, capsys)
    assert not (tmp_path / 'out').exists() and sorted(places['root'].rglob('*')) == before
