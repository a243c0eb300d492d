"""Hosts of an auditor: what is read again, and what is kept."""

import os
import shutil

import pytest
from mmengine.registry import DefaultScope

from knowswap_mm.audit import models as model_file
from knowswap_mm.audit.models import HostStore, ModelFile
from knowswap_mm.errors import CheckpointError
from knowswap_mm.registry import EVALUATORS
from tests.helpers.audit_models import audit_config
from tests.helpers.swap_configs import assert_same_weights, train


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read."""
    names, read = [], model_file.safe_load

    def load(path, *rest):
        names.append(os.path.basename(path))
        return read(path, *rest)

    monkeypatch.setattr(model_file, 'safe_load', load)
    return names


@pytest.fixture
def config(pictures, models, tmp_path):
    return audit_config(pictures, tmp_path / 'run', models['original'])


def test_a_file_is_read_when_it_is_new_or_was_changed(config, models, tmp_path, reads):
    store, path = HostStore('cpu'), tmp_path / 'model.pth'
    shutil.copy(models['retrained1'], path)
    host = store.of_file(config, path)
    assert_same_weights(host.state_dict(), ModelFile(config, path).host().state_dict())
    reads.clear()
    (tmp_path / 'link.pth').symlink_to(path)
    assert store.of_file(config, tmp_path / 'link.pth') is host and reads == []
    # The same weights in another file are the same model.
    assert store.of_file(config, models['retrained1']) is host and reads == ['retrained1.pth']
    shutil.copy(models['retrained2'], path)
    assert store.of_file(config, path) is not host and reads[1:] == ['model.pth']
    path.unlink()
    with pytest.raises(CheckpointError, match='no such file'):
        store.of_file(config, path)


def test_the_model_that_a_file_is_read_into_counts(config, models, reads):
    store, path = HostStore('cpu'), models['original']
    host = store.of_file(config, path)
    config.model.loss = dict(type='knowswap_mm.GradientAscentLoss')  # of training alone
    assert store.of_file(config, path) is host and len(reads) == 1
    config.model.host.backbone.drop_rate = 0.5
    store.of_file(config, path)
    store.of_file(config, path, base=True)
    assert len(reads) == 3


def test_audits_share_what_they_read(config, models, tmp_path, reads):
    train(config)
    files = [tmp_path / 'run' / f'{name}.pth' for name in ('phase1_learn', 'phase2_forget')]
    references = [models['retrained1'], models['retrained2']]

    def auditor():
        return EVALUATORS.build(dict(type='knowswap_mm.Auditor', parts=['Answers', 'Drift']))

    shared = auditor()
    together = [shared.audit_files(config, file, references) for file in files]
    wanted = ['phase1_learn', 'retrained1', 'retrained2', 'phase2_forget']
    assert reads == [f'{name}.pth' for name in wanted]
    # What was audited is known as a reference; the audited file itself is read each time.
    shared.audit_files(config, models['retrained3'], references)
    shared.audit_files(config, models['original'], [models['retrained3']])
    assert reads[4:] == ['retrained3.pth', 'original.pth', 'original.pth']
    apart = [auditor().audit_files(config, file, references) for file in files]
    assert [report.to_dict() for report in together] == [report.to_dict() for report in apart]
