"""Class lists, COCO files and the json of runs, damaged or hostile."""

import json

import pytest
from PIL import Image

from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.publishers import CocoFolder
from knowswap_mm.data_tools.publishers.coco import draw_map
from knowswap_mm.datasets.classes import read_class_names
from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.errors import CheckpointError, ConfigError, FileError
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.io.text_files import ANNOTATION_BYTES, JSON_BYTES, limit_of, read_json
from knowswap_mm.runs.checkpoints import read_latest
from knowswap_mm.runs.files import LATEST_FILE
from knowswap_mm.runs.reader import read_schedule
from knowswap_mm.runs.results import SwapResults
from tests.helpers.continual_runs import TOOLS, run_tool
from tests.helpers.hostile_files import lists
from tests.helpers.hostile_files.lists import CLASS_LISTS, COCO

KEY = 'swap.classes.old'
ANN_FILE = 'dataset.roles.forget.dataset.ann_file'


@pytest.mark.parametrize('name', CLASS_LISTS)
def test_class_list(name, tmp_path):
    path = str(tmp_path / name)
    CLASS_LISTS[name](tmp_path / name)
    with pytest.raises(ConfigError) as caught:
        read_class_names(KEY, path)
    assert str(caught.value).startswith(f'{KEY} = {path!r}'), caught.value
    assert 'Fix: ' in str(caught.value) and len(str(caught.value)) < 1000


#: What a role view takes: numbers as texts, and annotations of images that were taken out.
UNIFORM = {'number_as_a_text.json', 'picture_of_nothing.json'}


@pytest.mark.parametrize('name', [name for name in COCO if name not in UNIFORM])
def test_annotations_of_a_role(name, tmp_path):
    COCO[name](tmp_path / name)
    with pytest.raises(ConfigError) as caught:
        CocoJson(tmp_path / name, ANN_FILE)
    message = str(caught.value)
    assert message.startswith(f'{ANN_FILE} = ') and name in message and 'Fix: ' in message
    assert len(message) < 1000


def test_the_file_that_the_cases_change_is_whole(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(lists.content()))
    assert len(CocoJson(tmp_path / 'a.json', ANN_FILE).objects) == 2


#: What the converter takes: sizes are read from the images, boxes without an extent are left out.
TAKEN = {'huge_picture.json', 'negative_picture.json', 'picture_of_fractions.json'}


def coco_source(root, write):
    """A folder in the publisher's layout, its training list written by a case."""
    (root / 'annotations').mkdir(parents=True)
    (root / 'annotations' / 'instances_val2017.json').write_text(json.dumps(lists.content()))
    write(root / 'annotations' / 'instances_train2017.json')
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        for number in (1, 2):
            Image.new('RGB', (20, 10)).save(root / split / f'{number}.png')
    return root


@pytest.mark.parametrize('name', COCO)
def test_annotations_of_a_publisher(name, tmp_path):
    root = coco_source(tmp_path / 'source', COCO[name])
    is_mask = name.startswith(('mask_', 'runs_'))
    if name in TAKEN or is_mask:
        pictures = CocoFolder(root).images()
        assert len(pictures) == 4
    else:
        with pytest.raises(SourceError, match='instances_|train2017'):
            CocoFolder(root).images()
    if is_mask:
        (objects,) = (p.objects for p in pictures if p.path == root / 'train2017' / '2.png')
        with pytest.raises(ValueError, match='the mask of a dog'):
            draw_map(root / 'train2017' / '2.png', objects, ['cat', 'dog'])


@pytest.mark.parametrize('name', ['up.json', 'absolute.json', 'nested.json', 'box_of_texts.json'])
def test_the_converter_writes_nothing(name, tmp_path):
    source, out = tmp_path / 'source', tmp_path / 'out'
    coco_source(source, COCO[name])
    with pytest.raises(SystemExit, match='problems'):
        run_tool(
            TOOLS / 'dataset_converters' / 'detection.py', 'coco', '--source', source, '--out', out
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ['source']


READERS = dict(
    schedule=('schedule.json', lambda path: read_schedule(path.parent)),
    results=('swap_results.json', SwapResults.read),
)
CONTENTS = {
    'empty': '', 'list': '[]', 'nested': '{"phases":' * 9999, 'nothing': '{}', 'cut': '{"p": [',
    'phases_are_texts': '{"phases": ["a"], "classes": {}}',
    'phase_of_no_kind': '{"phases": [{"index": 0, "kind": ["a"]}], "classes": {}}',
    'no_classes': '{"phases": [{"index": 0, "kind": "learn"}], "classes": {"learn": 5}}',
    'states_are_texts': '{"primary_metric": "a", "scale": 1, "states": {"start": "a"}}',
    'scale_of_nothing': '{"primary_metric": "a", "scale": 0, "states": {}}',
}  # fmt: skip


@pytest.mark.parametrize('content', CONTENTS)
@pytest.mark.parametrize('reader', READERS)
def test_json_of_a_run(reader, content, tmp_path):
    name, read = READERS[reader]
    (tmp_path / name).write_text(CONTENTS[content])
    with pytest.raises(FileError, match=f'{name}.*Fix: '):
        read(tmp_path / name)


def test_json_of_a_run_that_is_whole(trained):
    assert [phase['kind'] for phase in read_schedule(trained)['phases']] == ['learn', 'forget']
    results = SwapResults.read(trained / 'swap_results.json')
    assert list(results.states) == ['start', 'phase1_learn', 'phase2_forget']


def test_names_that_are_too_long_or_no_names():
    """What the system refuses to look up."""
    for name in ('x' * 9999 + '.json', 'a\0.json'):
        with pytest.raises(ConfigError, match='no such file'):
            read_class_names(KEY, name)
        with pytest.raises(ConfigError, match='no such file'):
            CocoJson(name, ANN_FILE)
        with pytest.raises(CheckpointError, match='no such file'):
            safe_load(name)
        with pytest.raises(FileError):
            read_json(name)


def test_limits_can_be_changed(tmp_path, monkeypatch):
    path = tmp_path / 'a.json'
    path.write_text('["cat"]')
    assert limit_of(JSON_BYTES) < limit_of(ANNOTATION_BYTES)
    monkeypatch.setenv(JSON_BYTES, '7')
    assert read_json(path) == ['cat']
    monkeypatch.setenv(JSON_BYTES, '6')
    with pytest.raises(FileError, match=f'more than 6 bytes. Fix: .* set {JSON_BYTES}'):
        read_json(path)
    assert read_json(path, ANNOTATION_BYTES) == ['cat']


@pytest.mark.parametrize('value', ['', 'many', '-1', '0', '1.5', '١'])
def test_wrong_limits(value, monkeypatch):
    monkeypatch.setenv(JSON_BYTES, value)
    with pytest.raises(ConfigError, match=f'{JSON_BYTES} = .*no integer'):
        limit_of(JSON_BYTES)


@pytest.mark.parametrize('content', [b'\xff\xfe', b'a\0b', b'', b'/dev/zero', b'x' * 9999])
def test_a_note_of_the_last_checkpoint_that_names_no_checkpoint(content, trained, tmp_path):
    (tmp_path / LATEST_FILE).write_bytes(content)
    assert read_latest(tmp_path) is None
    state = tmp_path / 'phase1_learn.pth'
    state.write_bytes((trained / 'phase1_learn.pth').read_bytes())
    assert read_latest(tmp_path)[0] == state
