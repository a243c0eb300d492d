"""``knowswap swap``: a model and data of one's own, and no config."""

import json

import pytest
from mmengine.config import Config
from PIL import Image

from knowswap_mm.cli.main import main
from knowswap_mm.datasets.classes import match_names
from knowswap_mm.errors import ConfigError
from tests.helpers import own_data

SLOW = [pytest.mark.slow, pytest.mark.timeout(600)]
TASKS = ['mmpretrain', *(pytest.param(task, marks=SLOW) for task in ('mmdet', 'mmseg'))]


def results_of(folder):
    return json.loads((folder / 'swap_results.json').read_text())


@pytest.mark.parametrize('task', TASKS)
def test_the_roles_are_as_asked(task, told, swapped):
    schedule = json.loads((swapped(task) / 'schedule.json').read_text())['classes']
    assert schedule['learn'] == own_data.LEARN[task]
    assert schedule['forget'] == [told(task)['forget']]
    assert set(schedule['retain']) == set(schedule['old']) - {told(task)['forget']}


@pytest.mark.parametrize('task', TASKS)
def test_every_class_to_learn_trains_and_is_measured(task, swapped):
    run = json.loads((swapped(task) / 'run.json').read_text())
    counts = run['roles']['learn']
    assert set(counts['classes']) == set(own_data.LEARN[task])
    assert all(counts['classes'].values())
    last = list(results_of(swapped(task))['states'].values())[-1]['metrics']
    for name in own_data.LEARN[task]:
        assert any(name in key and key.startswith('learn/') for key in last), name


def test_a_classifier_learns_and_forgets(swapped):
    """Of two classes with a colour of their own; the host knows the others to 90 % and more."""
    states = results_of(swapped('mmpretrain'))['states']
    start, end = (states[name]['metrics'] for name in ('start', 'phase2_forget'))
    assert start['forget/accuracy/top1'] > 90
    assert end['learn/accuracy/top1'] > 60
    assert end['forget/accuracy/top1'] < 20
    assert end['retain/accuracy/top1'] > 80


@pytest.mark.parametrize('task', TASKS)
def test_the_config_stays_as_it_was_written_and_runs_again(task, swapped, tmp_path):
    """The run keeps its resolved config under another name; the same numbers come out."""
    folder = swapped(task)
    text = (folder / 'config.py').read_text(encoding='utf-8')
    assert text.startswith('# A swap of host: learn ') and "recipe='auto'" in text
    resolved = Config.fromfile(folder / 'config_resolved.py')
    assert resolved.optim_wrapper.optimizer.lr > 0
    main(['train', str(folder / 'config.py'), '--work-dir', str(tmp_path / 'again')])
    again, first = results_of(tmp_path / 'again'), results_of(folder)
    for name, state in first['states'].items():
        assert again['states'][name]['metrics'] == pytest.approx(state['metrics'], nan_ok=True)


def test_what_is_said(told, tmp_path, monkeypatch, capfd):
    """The plan before the run, the verdict and the places of the files after it."""
    monkeypatch.setattr('os.cpu_count', lambda: 1)
    out = tmp_path / 'run'
    given = own_data.words(told('mmpretrain'), out=out, iters=10, forget=None, device='cpu')
    main(['swap', *given, '--cfg-options', 'model.lora.rank=3', 'randomness.seed=5'])
    said = capfd.readouterr().out
    places = [
        said.index(text)
        for text in (
            'learns x ',
            '| learn  | 2       | ',
            'without a test split, one image in 5 of each class tests',
            'What trains: adapters with ',
            'Time: about ',
            '| phase1_learn |',
            f'knowswap predict {out} IMAGES',
        )
    ]
    assert places == sorted(places)
    assert 'forgets' not in said
    assert 'rank=3' in (out / 'config.py').read_text()
    assert json.loads((out / 'run.json').read_text())['seed'] == 5


def test_deep(told, tmp_path):
    """The features of forgotten classes are matched with those of others, too."""
    out = tmp_path / 'run'
    main(['swap', *own_data.words(told('mmpretrain'), out=out, iters=30, device='cpu'), '--deep'])
    config = Config.fromfile(out / 'config.py')
    assert config.model.loss == dict(type='knowswap_mm.FeatureMatchingLoss')
    forget = config.swap.phase_settings.forget
    assert (forget.iters, forget.weights) == (30, dict(forget=1.0))
    (log,) = out.glob('*/*.log')
    assert 'The rows of 1 forgotten classes were reset' in log.read_text()
    assert results_of(out)['states']['phase2_forget']['metrics']['forget/accuracy/top1'] < 20


def test_init_writes_the_config_alone(told, tmp_path, capsys):
    out = tmp_path / 'run'
    main(['init', *own_data.words(told('mmpretrain'), out=out)])
    assert f'Next: knowswap train {out}/config.py' in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ['config.py', 'data']
    text = (out / 'config.py').read_text(encoding='utf-8')
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 100
    roles = Config.fromfile(out / 'config.py').train_dataloader.dataset.roles
    assert roles.forget.dataset.data_root == roles.retain.dataset.data_root
    assert roles.learn.dataset.data_root == str(out / 'data' / 'learn')


def test_a_folder_in_which_nothing_was_kept(told, tmp_path, capsys):
    """A swap that failed at its start gives way, but for its config; a config to be edited not."""
    given = ['--out', str(tmp_path), *own_data.words(told('mmpretrain'), iters=2, device='cpu')]
    with pytest.raises(SystemExit, match=r'model\.lora\.rank'):
        main(['swap', *given, '--cfg-options', 'model.lora.rank=0'])
    left = (tmp_path / 'config.py').read_text()
    main(['init', *given])
    assert f'{tmp_path}: the swap there ended before it kept' in capsys.readouterr().out
    assert (tmp_path / 'config_before.py').read_text() == left
    assert Config.fromfile(tmp_path / 'config.py').model.lora.get('rank') != 0
    with pytest.raises(SystemExit, match='holds another run or other files'):
        main(['init', *given])


def test_data_that_is_given_takes_the_place_of_the_hosts(told, picture_tree, tmp_path):
    given = told('mmpretrain')
    for split in ('train', 'val'):
        (tmp_path / 'kept' / split).mkdir(parents=True)
        for name in 'ac':
            (tmp_path / 'kept' / split / name).symlink_to(picture_tree / split / name)
    (tmp_path / 'test').mkdir()
    for name, source in zip(['a', 'b', 'c', *own_data.LEARN['mmpretrain']], 'abcxy', strict=True):
        (tmp_path / 'test' / name).symlink_to(picture_tree / 'val' / source)
    out = tmp_path / 'run'
    retain = tmp_path / 'kept'
    main(['init', *own_data.words(given, out=out, retain=retain, test=tmp_path / 'test')])
    config = Config.fromfile(out / 'config.py')
    train, test = (config[f'{split}_dataloader'].dataset.roles for split in ('train', 'val'))
    assert config.swap.classes.retain == ['a', 'c']  # d and e are left alone
    assert train.retain.dataset.data_root == str(out / 'data' / 'retain')
    assert train.forget.dataset.data_root == str(given['model'].parent / 'old')
    assert {each.dataset.data_root for each in test.values()} == {str(out / 'data' / 'test')}
    held = list((out / 'data' / 'learn').glob('test/*/*'))
    assert not held  # what tests is given, so that all of it trains


@pytest.mark.slow
def test_images_of_several_roles_train_where_no_others_are(told, tmp_path, capsys):
    """Every image shows all old classes: by the usual rule none would be left."""
    names = ['disc', 'square', 'star', 'bar']
    images = [dict(id=i, file_name=f'{i}.png', width=64, height=64) for i in range(10)]
    boxes = [
        dict(id=4 * i + n, image_id=i, category_id=n, bbox=[4 + 12 * n, 8, 10, 10])
        for i in range(10)
        for n in range(4)
    ]
    categories = [dict(id=n, name=name) for n, name in enumerate(names)]
    content = dict(images=images, annotations=boxes, categories=categories)
    (tmp_path / 'all.json').write_text(json.dumps(content))
    for image in images:
        own_data.save(Image.new('RGB', (64, 64)), tmp_path / image['file_name'])
    given = dict(told('mmdet'), learn=None, images=None, data=tmp_path / 'all.json')
    main(['init', *own_data.words(given, out=tmp_path / 'run')])
    roles = Config.fromfile(tmp_path / 'run' / 'config.py').train_dataloader.dataset.roles
    assert {name: role.mixed for name, role in roles.items()} == dict.fromkeys(
        ('forget', 'retain'), 'drop_boxes'
    )
    assert 'objects of other roles count as background there' in capsys.readouterr().out


def test_an_export_is_a_host_again(told, swapped, tmp_path):
    """With names and steps of its config, and data that is given."""
    run, out = swapped('mmpretrain'), tmp_path / 'exported'
    main(['export', str(run / 'config.py'), str(run / 'phase2_forget.pth'), '--out', str(out)])
    given = dict(model=out / 'config.py', checkpoint=out / 'model.pth', forget='x')
    main(['init', *own_data.words(given, data=run / 'data' / 'learn', out=tmp_path / 'next')])
    config = Config.fromfile(tmp_path / 'next' / 'config.py')
    assert config.swap.order == 'forget'
    assert config.swap.classes.old[-2:] == own_data.LEARN['mmpretrain']
    assert config.swap.classes.retain == own_data.LEARN['mmpretrain'][1:]
    assert config.train_pipeline == config.test_pipeline


def test_names_on_a_command_line():
    """Names of ImageNet hold commas and synonyms; commas also join names."""
    known = ['goldfish, Carassius', 'hen', 'crane, bird', 'crane, machine', 'a b']

    def match(*given):
        return match_names('--forget', given, known, 'the old classes')

    assert match('goldfish,hen', 'a b') == ['goldfish, Carassius', 'hen', 'a b']
    assert match('crane, bird') == ['crane, bird']
    assert match('hen, goldfish') == ['hen', 'goldfish, Carassius']
    for wrong in (['crane'], ['hen,hen'], ['hen', 'hem'], ['']):
        with pytest.raises(ConfigError, match='^--forget'):
            match(*wrong)
