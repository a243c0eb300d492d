"""The site: `make docs`. Its pages are the md files of the repository as they stand."""

import importlib
import pkgutil
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from mmengine.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import knowswap_mm  # noqa: E402
from knowswap_mm import __version__, registry  # noqa: E402

# Whatever the package registers is registered when its module is imported.
for module in pkgutil.walk_packages(knowswap_mm.__path__, 'knowswap_mm.'):
    if not module.name.endswith('.__main__'):
        importlib.import_module(module.name)

project = 'knowswap_mm'
author = copyright = 'knowswap_mm contributors'
release = version = __version__

# Pages of the root and of docs link one another, so the source is the repository.
root_doc = 'docs/index'
include_patterns = ['docs/*.md', 'docs/measurements/*.md', '*.md', 'weights/README.md']
exclude_patterns = [
    '.*',
    '*.egg-info',
    'docs/_build',
    'docs/images',
    *('benchmarks', 'build', 'configs', 'data', 'dist', 'knowswap_mm'),
    *('requirements', 'tests', 'tools', 'work_dirs'),
]
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
myst_heading_anchors = 4
highlight_language = 'text'
smartquotes = False

html_theme = 'furo'
html_title = f'knowswap_mm {release}'
html_math_renderer = 'mathml'
html_copy_source = False
html_show_sourcelink = False
templates_path = ['site']
html_additional_pages = {'index': 'forward.html'}
html_static_path = ['site/static']
html_css_files = ['wide_tables.css']

autodoc_typehints = 'none'
autodoc_class_signature = 'mixed'
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False


def describe(name: str) -> str:
    """RST of all classes of a registry of ours, or of one class of the package."""
    if name.isupper():
        found: Registry = getattr(registry, name)
        kinds = dict.fromkeys(each for each in found.module_dict.values() if isinstance(each, type))
        kinds = [kind for kind in kinds if kind.__module__.startswith('knowswap_mm.')]
    else:
        module, kind = name.rsplit('.', 1)
        kinds = [getattr(importlib.import_module(module), kind)]
    places = [f'{kind.__module__}.{kind.__qualname__}' for kind in kinds]
    return '\n'.join(f'.. autoclass:: {place}\n' for place in places)


def fill_in(app: object, page: str, source: list[str]) -> None:
    """Puts docstrings where a page says `<!-- docstrings of NAME -->`."""

    def block(match: re.Match) -> str:
        return f'```{{eval-rst}}\n{describe(match.group(1))}```'

    source[0] = re.sub(r'<!-- docstrings of ([\w.]+) -->', block, source[0])


def show_formula(translator: object, node: object) -> None:
    """Writes a formula as MathML, which browsers draw without a script or the network."""
    inline = type(node).__name__ == 'math'
    written = tex2mathml(node.astext(), as_block=not inline)
    translator.body.append(written if inline else f'<div class="formula">{written}</div>')
    raise nodes.SkipNode


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect('source-read', fill_in)
    renderers = (show_formula, None), (show_formula, None)
    app.add_html_math_renderer('mathml', *renderers)
