"""What an import costs, and the shape of the package (issue 25)."""

import ast
import json
import pkgutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import knowswap_mm

PACKAGE = Path(knowswap_mm.__file__).parent
OLD_RUN = Path(__file__).parent / 'old_files' / 'run'
HEAVY = ('torch', 'peft', 'transformers')


def modules_below(*names):
    """The packages and all their modules, by name."""
    found = []
    for name in names:
        folder = PACKAGE.parent.joinpath(*name.split('.'))
        below = pkgutil.walk_packages([str(folder)], f'{name}.')
        found += [name, *(module.name for module in below)]
    return found


#: Nothing in these works with tensors: modules alone, and rooms with all that is in them.
LIGHT = {
    'knowswap_mm': ['knowswap_mm'],
    'beside the rooms': [
        f'knowswap_mm.{name}'
        for name in ('checks', 'console', 'errors', 'installation', 'registry')
    ],
    'cli': modules_below('knowswap_mm.cli'),
    'converters.tables': modules_below('knowswap_mm.converters.tables'),
    'data_tools': modules_below('knowswap_mm.data_tools'),
    'doctor': [f'knowswap_mm.doctor.{name}' for name in ('checks', 'examination')],
    'io': [f'knowswap_mm.io.{name}' for name in ('files', 'partial_file', 'text_files')],
    'runs.reader': ['knowswap_mm.runs.reader'],
    'schedule': modules_below('knowswap_mm.schedule'),
    'visualization.report': modules_below('knowswap_mm.visualization.report'),
}
#: Whole actions: what they do, and what they must not import.
ACTIONS = {
    'help': (
        'from knowswap_mm.cli.main import build_parser; build_parser().format_help()',
        ('torch', 'numpy', 'mmengine', 'mmcv', 'peft', 'transformers', 'matplotlib'),
    ),
    'import knowswap_mm': (
        'import knowswap_mm; knowswap_mm.__version__',
        ('torch', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'peft', 'transformers'),
    ),
    'a classifier and the check of its audit': (
        'import knowswap_mm.engine, knowswap_mm.audit.auditor; '
        'from knowswap_mm.console import import_quietly; import_quietly("mmpretrain"); '
        'from mmpretrain.registry import MODELS; assert MODELS.get("VisionTransformer")',
        ('sklearn', 'mmdet', 'mmseg', 'yapf'),
    ),
    'a detector after a classifier': (
        'from knowswap_mm.console import import_quietly; import_quietly("mmpretrain"); '
        'import_quietly("mmdet"); from mmdet.registry import MODELS; '
        'assert MODELS.get("ResLayerExtraNorm"), "what mmpretrain has for mmdet"',
        ('mmseg', 'yapf'),
    ),
    'a segmentor, which later collections leave out': (
        'import gc; from knowswap_mm.engine.config import open_config; '
        'from knowswap_mm.console import import_quietly; '
        'open_config("configs/demo/mask2former-demo_shape-scenes_learn-forget.py"); '
        'import_quietly("mmseg"); left = len(gc.get_objects()); assert left < 50_000, left',
        ('yapf',),
    ),
    'report': (
        'import sys, pathlib; from knowswap_mm.visualization.report import Report; '
        'Report.of_run(pathlib.Path(sys.argv[1])).write(pathlib.Path(sys.argv[2]))',
        HEAVY,
    ),
}
#: Forks for each piece of code, so that none sees the imports of another and Python starts once.
#: What is heavy cannot be imported there: the first attempt is noted, with the line of ours.
PROBE = """
import json, os, sys, traceback
class Refused:
    def __init__(self, heavy):
        self.heavy, self.found = heavy, []
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in self.heavy:
            ours = [f'{f.filename}:{f.lineno}' for f in traceback.extract_stack()
                    if '/knowswap_mm/' in f.filename]
            self.found.append(' '.join([name, 'imported by', *ours[-1:]]))
            raise ImportError(name)
pieces, answers = json.loads(sys.stdin.read()), {}
for name, (code, heavy) in pieces.items():
    read, write = os.pipe()
    if not (child := os.fork()):
        refused = Refused(heavy)
        sys.meta_path.insert(0, refused)
        for line in code:
            try:
                exec(line, {})
            except ImportError as error:
                refused.found += [] if refused.found else [str(error)]
        os.write(write, json.dumps(sorted(set(refused.found))).encode())
        os._exit(0)
    os.close(write)
    answers[name] = json.loads(os.fdopen(read).read() or '["it died"]')
    os.waitpid(child, 0)
print(json.dumps(answers), file=sys.__stderr__)
"""


@pytest.fixture(scope='module')
def imported(tmp_path_factory):
    """Attempts of each module and each action to import what is heavy."""
    pieces = {name: ([f'import {m}' for m in modules], HEAVY) for name, modules in LIGHT.items()}
    pieces |= {name: ([code], heavy) for name, (code, heavy) in ACTIONS.items()}
    done = subprocess.run(
        [sys.executable, '-c', PROBE, str(OLD_RUN), str(tmp_path_factory.mktemp('report'))],
        input=json.dumps(pieces), capture_output=True, text=True, cwd=PACKAGE.parent, check=True,
    )  # fmt: skip
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize('name', LIGHT)
def test_a_module_without_tensors_imports_no_torch(name, imported):
    assert imported[name] == []


@pytest.mark.parametrize('name', ACTIONS)
def test_an_action_imports_nothing_needless(name, imported):
    assert imported[name] == []


#: A file in one of these is an extension point and may be as small as its idea.
EXTENSION_POINTS = (
    'audit.attacks',
    'cli.commands',
    'converters.tables',
    'doctor.checks',
    'visualization.report.sections',
)


@pytest.fixture(scope='module')
def lines():
    """Number of lines of each module."""
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        found[name] = len(path.read_text(encoding='utf-8').splitlines())
    return found


@pytest.fixture(scope='module')
def imports(lines):
    """The modules of ours that each module imports when it is imported itself."""
    found = {}
    for name in lines:
        path = PACKAGE.parent.joinpath(*name.split('.'))
        path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        found[name] = set(imports_of(ast.parse(path.read_text(encoding='utf-8')).body, lines))
        found[name].discard(name)
    return found


def imports_of(body, modules):
    """Imports in statements that run at once; those in functions wait for a call."""
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                whole = f'{statement.module}.{alias.name}'
                yield from {whole if whole in modules else statement.module} & set(modules)
        elif isinstance(statement, ast.Import):
            yield from {alias.name for alias in statement.names} & set(modules)
        elif isinstance(statement, ast.If) and 'TYPE_CHECKING' not in ast.unparse(statement.test):
            yield from imports_of([*statement.body, *statement.orelse], modules)
        elif isinstance(statement, (ast.Try, ast.With, ast.ClassDef)):
            yield from imports_of(statement.body, modules)


def test_no_module_imports_itself_by_a_detour(imports):
    done, way = set(), []

    def follow(name):
        assert name not in way, ' -> '.join([*way[way.index(name) :], name])
        if name not in done:
            way.append(name)
            for other in sorted(imports[name]):
                follow(other)
            done.add(way.pop())

    for name in imports:
        follow(name)


def test_no_file_is_long(lines):
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_there_are_few_files(lines):
    assert len(lines) <= 325


def test_no_small_module_has_a_single_user(lines, imports):
    users = defaultdict(set)
    for name, others in imports.items():
        for other in others:
            users[other].add(name)
    packages = {name.rpartition('.')[0] for name in lines}
    small = {
        name: users[name]
        for name, count in lines.items()
        if count < 30 and len(users[name]) <= 1 and name not in packages
    }
    points = tuple(f'knowswap_mm.{point}.' for point in EXTENSION_POINTS)
    allowed = {'knowswap_mm.__main__'}  # Python runs it
    assert {n: u for n, u in small.items() if not n.startswith(points)}.keys() <= allowed, small
