import logging

import pytest
from mmengine.registry import DefaultScope

from knowswap_mm.registry import AUDITS, DRAWERS


@pytest.mark.parametrize(
    ('registry', 'name'),
    [(DRAWERS, 'knowswap_mm.ClassificationDrawer'), (AUDITS, 'knowswap_mm.Drift')],
)
@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg'])
def test_what_hosts_do_not_have_is_not_looked_for_in_them(registry, name, scope, monkeypatch):
    said = []

    def log(text, logger=None, level=logging.INFO):
        said.extend([text] if level > logging.INFO else [])

    monkeypatch.setattr('mmengine.logging.print_log', log)
    with DefaultScope.overwrite_default_scope(scope):
        built = registry.build(dict(type=name))
        assert DefaultScope.get_current_instance().scope_name == scope
    assert type(built).__name__ == name.split('.')[1] and said == []
