"""A folder is written whole or not at all."""

import pytest

from knowswap_mm.exporting import new_folder


def test_it_appears_at_the_end(tmp_path):
    with new_folder(tmp_path / 'a' / 'out', '--out') as folder:
        (folder / 'file').write_text('x')
        assert not (tmp_path / 'a' / 'out').exists()
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['out']
    assert (tmp_path / 'a' / 'out' / 'file').read_text() == 'x'


def test_nothing_is_left_of_a_failure(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / 'out', '--out') as folder:
        (folder / 'file').write_text('x')
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_stays_as_it_is(tmp_path, raises_config_error):
    for meanwhile in (False, True):
        out = tmp_path / f'out{meanwhile}'
        out.mkdir() if not meanwhile else None
        with (
            raises_config_error('--out', str(out), 'is there already'),
            new_folder(out, '--out') as folder,
        ):
            (folder / 'file').write_text('x')
            out.mkdir()
        assert not list(out.iterdir())
