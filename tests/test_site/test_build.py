"""The site is built without a warning, and shows what the registries hold."""

import html
import re
import subprocess
import sys

import pytest

from knowswap_mm import registry
from tests.helpers.doc_blocks import DOCS, REPOSITORY

pytest.importorskip('sphinx', reason='`make docs` or `make test` installs requirements/docs.txt')
pytest.importorskip('myst_parser')

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The built site; a warning is an error, as in `make docs`."""
    folder = tmp_path_factory.mktemp('site')
    command = re.search(
        r'-m (sphinx -W .*) docs/_build/html', (REPOSITORY / 'Makefile').read_text()
    )
    words = [sys.executable, '-m', *command.group(1).split(), str(folder / 'html')]
    words = [word.replace('docs/_build', str(folder)) for word in words]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder / 'html'


def test_each_page_is_there_and_in_the_table_of_contents(site):
    index = (site / 'docs' / 'index.html').read_text()
    for page in DOCS.rglob('*.md'):
        name = page.relative_to(DOCS).with_suffix('.html').as_posix()
        assert (site / 'docs' / name).is_file()
        assert page.stem == 'index' or f'href="{name}"' in index, page.name
    assert 'url=docs/index.html' in (site / 'index.html').read_text()


@pytest.mark.parametrize(
    'name', ['RUNNERS', 'MODELS', 'ACCELERATIONS', 'DATASETS', 'METRICS', 'HOOKS', 'AUDITS']
)
def test_the_config_reference_has_all_registered_classes(site, name):
    text = (site / 'docs' / 'config.html').read_text()
    words = ' '.join(html.unescape(re.sub('<[^>]+>', '', text)).split())
    found = getattr(registry, name)
    found.import_from_location()
    kinds = [
        kind
        for kind in found.module_dict.values()
        if isinstance(kind, type) and kind.__module__.startswith('knowswap_mm.')
    ]
    assert kinds
    for kind in kinds:
        assert f'id="{kind.__module__}.{kind.__qualname__}"' in text
        first_words = kind.__doc__.split('``')[0].split(':class:')[0].split()[:4]
        assert ' '.join(first_words) in words, kind


def test_links_between_pages_lead_to_places(site):
    """Of all pages, to a page and a place on it."""
    wrong = []
    for page in site.rglob('*.html'):
        for link in re.findall(r'href="([^"#:]*)#([^"]+)"', page.read_text()):
            target = (page.parent / link[0]) if link[0] else page
            if not target.is_file() or f'id="{link[1]}"' not in target.read_text():
                wrong.append((page.name, *link))
    assert not wrong
