"""Child registries of mmengine's; the scope is ``knowswap_mm``.

Modules are imported when a config first asks for one of them, so that ``import knowswap_mm`` stays
light. Configs keep the default scope of their host and write ``type='knowswap_mm.X'``.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import EVALUATOR as MMENGINE_EVALUATOR
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import Registry

from knowswap_mm.own_registry import OwnRegistry

_SCOPE = 'knowswap_mm'

MODELS = Registry('model', parent=MMENGINE_MODELS, scope=_SCOPE, locations=['knowswap_mm.models'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope=_SCOPE, locations=['knowswap_mm.datasets']
)
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope=_SCOPE, locations=['knowswap_mm.datasets']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope=_SCOPE, locations=['knowswap_mm.engine'])
RUNNERS = Registry(
    'runner', parent=MMENGINE_RUNNERS, scope=_SCOPE, locations=['knowswap_mm.engine']
)
OPTIM_WRAPPERS = Registry(
    'optim wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope=_SCOPE,
    locations=['knowswap_mm.engine'],
)
LOG_PROCESSORS = Registry(
    'log processor',
    parent=MMENGINE_LOG_PROCESSORS,
    scope=_SCOPE,
    locations=['knowswap_mm.engine'],
)
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope=_SCOPE, locations=['knowswap_mm.evaluation']
)
EVALUATORS = Registry(
    'evaluator',
    parent=MMENGINE_EVALUATOR,
    scope=_SCOPE,
    locations=['knowswap_mm.evaluation.audit'],
)
#: Parts of an audit, and how each task is read.
AUDITS = OwnRegistry('audit', scope=_SCOPE, locations=['knowswap_mm.evaluation.audit'])
#: By the class name of a host: functions that make published checkpoints of it fit.
HOST_FIXES = OwnRegistry('host fix', scope=_SCOPE, locations=['knowswap_mm.models.host_fixes'])
#: Changes that make a host faster.
ACCELERATIONS = OwnRegistry('acceleration', scope=_SCOPE, locations=['knowswap_mm.acceleration'])
#: Draw the samples and predictions of a task.
DRAWERS = OwnRegistry('drawer', scope=_SCOPE, locations=['knowswap_mm.visualization.pictures'])
#: Sections of the report of a run.
REPORT_SECTIONS = OwnRegistry(
    'report section', scope=_SCOPE, locations=['knowswap_mm.visualization.report.sections']
)
#: Checks of an installation.
DOCTOR_CHECKS = Registry('doctor check', scope=_SCOPE, locations=['knowswap_mm.doctor.checks'])
