"""What libraries keep to themselves, and compat.py uses: a new release of theirs fails here."""

import ast
import inspect
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import ConstantLR
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

import knowswap_mm
from knowswap_mm import compat

PACKAGE = Path(knowswap_mm.__file__).parent
#: Public in spite of their names.
PUBLIC = {'_asdict', '_replace', '_exit'}


def is_private(name):
    return name.startswith('_') and not name.endswith('__') and name != '_'


def names_of(tree):
    """Private names that are used, and those that are defined."""
    used, defined = [], set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            used.append((node.lineno, node.attr))
            if isinstance(node.ctx, ast.Store) and getattr(node.value, 'id', '') == 'self':
                defined.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and not node.module.startswith('knowswap_mm'):
            parts = [*node.module.split('.'), *(alias.name for alias in node.names)]
            used += [(node.lineno, part) for part in parts if is_private(part)]
    return used, defined


def test_no_other_module_uses_a_private_name_of_a_library():
    found = {path: names_of(ast.parse(path.read_text())) for path in PACKAGE.rglob('*.py')}
    used, _ = found.pop(PACKAGE / 'compat.py')
    assert len(used) > 20
    own = PUBLIC.union(*(defined for _, defined in found.values()))
    wrong = [
        f'{path.relative_to(PACKAGE)}:{line} {name}'
        for path, (names, _) in found.items()
        for line, name in names
        if name not in own
    ]
    assert not wrong


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, mode='loss'):
        return dict(loss=(self.weight * x).mean())

    def train_step(self, data, optim_wrapper):
        optim_wrapper.update_params(self(data)['loss'])
        return {}


@pytest.fixture
def runner(tmp_path):
    loader = dict(
        batch_size=2,
        dataset=list(map(float, range(8))),
        sampler=dict(type='DefaultSampler', shuffle=False),
        num_workers=1,
        persistent_workers=True,
        collate_fn=dict(type='default_collate'),
    )
    return compat.OpenRunner(
        Twice(),
        str(tmp_path),
        train_dataloader=loader,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        load_from='host.pth',
        resume=True,
        experiment_name=tmp_path.name,
        default_hooks=dict(checkpoint=None, logger=None),
        cfg=Config(dict(find_unused_parameters=False)),
    )


def test_what_a_runner_keeps(runner, monkeypatch):
    assert (runner.resumes, runner.weights_file, runner.has_loaded) == (True, 'host.pth', False)
    assert runner.loader_config('train')['batch_size'] == 2
    assert runner.loader_config('val') is runner.loader_config('test') is None
    assert runner.train_loop_config['max_iters'] == 3 and not runner.evaluates
    runner.use_launcher('pytorch')
    assert runner.launcher == 'pytorch'
    runner.change_seed(7)
    assert runner.seed == 7 and torch.initial_seed() == 7
    asked = []
    monkeypatch.setattr(Runner, 'resume', lambda self, path, **_: asked.append(path))
    monkeypatch.setattr(Runner, 'load_checkpoint', lambda self, path, **_: asked.append(path))
    runner.begin_with('iter_2.pth', True)
    runner.load_or_resume()
    runner.has_loaded = False
    runner.begin_with('other.pth', False)
    runner.load_or_resume()
    runner.load_or_resume()
    assert asked == ['iter_2.pth', 'other.pth'] and runner.has_loaded


def test_a_run_begins_where_it_is_put_and_its_workers_end(runner):
    runner.begin_with(None, False)
    loader, loop = dict(runner.loader_config('train')), dict(runner.train_loop_config)
    runner.set_training(dict(loader, batch_size=1), dict(loop, max_iters=4))
    assert isinstance(runner.train_loop, IterBasedTrainLoop) and runner.max_iters == 4
    assert isinstance(runner.train_dataloader, DataLoader)
    assert runner.train_dataloader.batch_size == 1
    runner.set_position(1, 2)
    assert (runner.epoch, runner.iter) == (1, 2)
    iterator = iter(runner.train_dataloader)
    next(iterator)
    workers = list(iterator._workers)
    assert workers and all(worker.is_alive() for worker in workers)
    runner.end_workers()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize('persistent', [True, False])
def test_a_run_gets_another_length_and_data_from_another_place(persistent, runner):
    runner.begin_with(None, False)
    sampler = dict(type='InfiniteSampler', shuffle=False)
    loader = dict(runner.loader_config('train'), persistent_workers=persistent, sampler=sampler)
    runner.set_training(loader, dict(runner.train_loop_config))
    loop, seen = runner.train_loop, []
    assert runner.max_iters == 3

    def before_train_iter(batch_idx, data_batch):
        seen.append(data_batch.tolist())
        if len(seen) == 2:
            runner.set_length(5)
            loop.dataloader_iterator.skip_iter(3)  # what was prefetched is thrown away

    runner.call_hook = lambda name, **given: (
        before_train_iter(**given) if name == 'before_train_iter' else None
    )
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    loop.run()
    assert runner.max_iters == runner.iter == 5
    assert seen == [[0.0, 1.0], [2.0, 3.0], [6.0, 7.0], [0.0, 1.0], [2.0, 3.0]]
    runner.end_workers()


def test_the_saving_of_a_periodic_checkpoint_is_replaced(runner):
    class Hook(compat.OpenCheckpointHook):
        def save_step(self, runner, step, meta):
            saved.append((step, meta['iter']))

    saved = []
    hook = Hook(interval=1, by_epoch=False)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    hook.save_in_turn(runner)
    assert saved == [(1, 1), (1, 1)]
    assert list(inspect.signature(CheckpointHook._save_checkpoint_with_step).parameters) == [
        'self', 'runner', 'step', 'meta',
    ]  # fmt: skip


def test_a_stored_history_has_the_fields_that_are_read():
    fields = {'_log_history', '_count_history', 'max_length'}
    assert fields <= set(vars(HistoryBuffer([1.0], [1])))


def test_a_scheduler_is_one():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert isinstance(ConstantLR(optimizer), compat.ParamScheduler)


def test_a_scheduler_has_a_curve_of_its_own():
    class Halves(compat.OpenScheduler):
        def factor(self, step):
            return 0.5**step

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    scheduler, rates = Halves(optimizer, end=3, by_epoch=False), []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    assert rates == [8, 4, 2, 2]


def test_a_module_is_told_of_new_weights():
    class Told(compat.NoticesNewWeights, nn.Linear):
        def weights_change(self):
            told.append(self.weight.dtype)

    told = []
    model = nn.Sequential(Told(2, 2))
    model.double()
    assert told == [torch.float32] and model[0].weight.dtype == torch.float64
    model.load_state_dict({k: torch.ones_like(v) for k, v in model.state_dict().items()})
    assert len(told) == 2 and bool((model[0].weight == 1).all())


def test_mmseg_makes_segments_where_they_are_replaced():
    decode_heads = pytest.importorskip('mmseg.models.decode_heads')

    class Head(compat.OpenMask2FormerHead, decode_heads.Mask2FormerHead):
        def segments_of(self, samples):
            return 'ours', samples

    head = Head.__new__(Head)
    assert head._seg_data_to_instance_data([1]) == ('ours', [1])
    source = inspect.getsource(decode_heads.Mask2FormerHead.loss)
    assert 'self._seg_data_to_instance_data(' in source
    assert super(Head, head).segments_of([]) == ([], [])


def test_what_a_module_has_of_its_own():
    inner = nn.BatchNorm2d(2)
    module = nn.Sequential(inner, inner, nn.Conv1d(1, 1, 1), nn.ConvTranspose1d(1, 1, 1))
    assert list(compat.children_of(module)) == ['0', '1', '2', '3']
    assert not list(compat.own_tensors(module)) and len(list(compat.own_tensors(inner))) == 5
    compat.own_parameters(inner)['weight'] = twin = nn.Parameter(torch.zeros(2))
    assert inner.weight is twin
    assert isinstance(inner, compat.BatchNorm) and isinstance(module[2], compat.Conv)
    assert isinstance(module[3], compat.TransposedConv)


@pytest.mark.parametrize(
    'register',
    [
        'register_forward_hook',
        'register_forward_pre_hook',
        'register_full_backward_hook',
        'register_full_backward_pre_hook',
    ],
)
def test_hooks_of_a_module_are_seen(register):
    module = nn.Linear(1, 1)
    assert not compat.has_hooks(module)
    handle = getattr(module, register)(lambda *_: None)
    assert compat.has_hooks(module)
    handle.remove()
    assert not compat.has_hooks(module)


def test_functions_of_torch():
    x = torch.arange(6.0)
    before = compat.version_of(x)
    x.add_(0)
    assert compat.version_of(x) == before + 1
    assert [float(norm) for norm in compat.norms_of([x, x[:2]])] == [float(x.norm()), 1.0]
    y = x.clone().requires_grad_()
    shaped = compat.reshaped(y * 1, [2, 3])
    assert shaped.tolist() == x.view(2, 3).tolist() and not shaped._is_view()
    shaped.sum().backward()
    assert y.grad.tolist() == [1.0] * 6


def test_a_data_set_shares_its_records():
    dataset = BaseDataset(lazy_init=True, pipeline=[lambda record: record['x']])
    dataset.load_data_list = lambda: [dict(x=1), dict(x=2)]
    dataset.full_init()
    other = compat.same_records(dataset)
    other._metainfo['classes'] = ['b']
    other.pipeline.transforms.clear()
    assert other.data_bytes is dataset.data_bytes and 'classes' not in dataset.metainfo
    assert [dataset[place] for place in range(2)] == [1, 2]


def test_windows_of_accumulation():
    parameter = nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1), accumulative_counts=3)
    assert compat.window_of(wrapper) == 3


def test_the_compiler_says_what_it_cannot_do():
    def fails(x):
        torch._dynamo.graph_break()
        return x + 1

    compat.allow_recompilations(100)
    with pytest.raises(compat.compiler_error()):
        torch.compile(fails, backend='eager', fullgraph=True)(torch.ones(1))
