"""What is installed, what stands in its way, and bases of configs by name."""

import gc
import importlib
import sys
from types import SimpleNamespace

import pytest

from knowswap_mm import installation
from knowswap_mm.cli.main import main
from knowswap_mm.engine.config import open_config
from knowswap_mm.errors import ConfigError, SwapError
from knowswap_mm.installation import (
    check_originals,
    check_scope,
    checkout,
    complete,
    has_operators,
    leave_out_multimodal,
    quick_imports,
)
from tests.test_setup.test_packages import CONFIG


def test_needless_packages_seem_to_be_absent_for_a_while(monkeypatch):
    monkeypatch.delitem(sys.modules, 'wave', raising=False)
    kept = gc.get_freeze_count()
    with pytest.raises(KeyError), quick_imports('wave', 'json'):
        assert not gc.isenabled()
        assert importlib.util.find_spec('wave') is None
        with pytest.raises(ImportError):
            importlib.import_module('wave')
        assert importlib.import_module('json').loads('1') == 1, 'what is loaded stays'
        raise KeyError
    assert gc.isenabled() and importlib.import_module('wave') and 'json' in sys.modules
    assert gc.get_freeze_count() <= kept, 'what lives beside few modules may become garbage'
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled(), 'whoever stopped the collector starts it again'
    finally:
        gc.enable()


def test_originals_are_found_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(installation, 'is_here', lambda name: name in ('mmcv-full', 'mmdet'))
    with pytest.raises(SwapError) as caught:
        check_originals()
    said = str(caught.value)
    assert 'mmcv-full, mmdet of OpenMMLab overwrites the files of onedl-mmcv, onedl-mm' in said
    assert 'uninstall -y mmcv-full mmdet && ' in said
    assert said.endswith('--force-reinstall --no-deps onedl-mmcv onedl-mmdetection')
    with pytest.raises(SystemExit, match='^SwapError: mmcv-full, mmdet of OpenMMLab'):
        main(['train', 'there_is_no_such.py'])


def test_there_are_none_here():
    check_originals()


@pytest.mark.parametrize('scope', ['mmpretrain', None, 'somebody', ['mmdet']])
def test_a_classifier_needs_no_operators(scope, monkeypatch):
    monkeypatch.setattr(installation, 'has_operators', lambda: False)
    if isinstance(scope, list):
        scope = scope[0]
        with pytest.raises(ConfigError, match='detection needs the compiled operators of mmcv'):
            check_scope(scope)
    else:
        check_scope(scope)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_other_tasks_have_theirs_here(scope):
    assert has_operators()
    check_scope(scope)


def test_what_is_missing_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'mmseg' else real(name)
    )
    with pytest.raises(ConfigError, match='segmentation needs mmseg, which this') as caught:
        check_scope('mmseg')
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_fits_the_installation(monkeypatch):
    """In the environment of a clone it is make; elsewhere pip with all that the task needs."""
    monkeypatch.setattr(sys, 'prefix', str(checkout() / '.venv'))
    assert complete('detection').startswith(f'make setup, in {checkout()} (')
    monkeypatch.setattr(sys, 'prefix', '/somewhere/else')
    command = complete('segmentation')
    assert '--no-build-isolation' in command and '--no-binary onedl-mmcv' in command
    assert "'onedl-mmsegmentation<" in command and "'onedl-mmdetection<" in command
    assert 'pycocotools' not in command


@pytest.mark.parametrize(
    ('version', 'imported', 'left_out'),
    [('4.57.6', False, False), ('5.0.1', False, True), (None, False, False), ('5.1', True, False)],
)
def test_multimodal_models_beside_transformers_5(version, imported, left_out, monkeypatch):
    switch = SimpleNamespace(WITH_MULTIMODAL=True)
    monkeypatch.setattr(installation, 'installed_version', lambda name: version)
    monkeypatch.setitem(sys.modules, 'mmpretrain.utils.dependency', switch)
    monkeypatch.delitem(sys.modules, 'mmpretrain.models', raising=False)
    if imported:
        monkeypatch.setitem(sys.modules, 'mmpretrain.models', SimpleNamespace())
    leave_out_multimodal()
    assert switch.WITH_MULTIMODAL != left_out


def test_the_switch_is_the_one_that_mmpretrain_asks():
    """A new release may have another one."""
    from mmpretrain.models import multimodal
    from mmpretrain.utils import dependency

    assert isinstance(dependency.WITH_MULTIMODAL, bool)
    assert multimodal.WITH_MULTIMODAL is dependency.WITH_MULTIMODAL


def test_bases_by_name_work_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(CONFIG)
    (tmp_path / 'again.py').write_text("_base_ = ['mine.py']\nwork_dir = 'x'\n")
    config = open_config('again.py')
    plain = open_config(checkout() / 'configs/demo/vit-demo_shapes_learn-forget.py')
    assert config.model == plain.model and '_scope_' not in str(config)
    assert config.train_dataloader.batch_size == 16 and config.work_dir == 'x'


def test_a_base_that_is_not_there(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = ['knowswap_mm::_base_/swap_aut.py']\n")
    with pytest.raises(ConfigError, match="^_base_ = 'knowswap_mm::_base_/swap_aut.py'") as caught:
        open_config(path)
    assert "'knowswap_mm::_base_/swap_auto.py'" in str(caught.value)
