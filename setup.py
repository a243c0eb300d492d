"""Packaging of knowswap_mm: ``pip install --no-build-isolation -e .``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
EXTRAS = ('detection', 'segmentation', 'completion', 'tests')


def read_version() -> str:
    """Read the version as text, because importing the package would need its dependencies."""
    text = (ROOT / 'knowswap_mm' / 'version.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    if match is None:
        raise RuntimeError("knowswap_mm/version.py has no line `__version__ = '...'`")
    return match.group(1)


def read_requirements(name: str) -> list[str]:
    """Read ``requirements/<name>.txt`` without its comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    requirements = (line.split('#', 1)[0].strip() for line in lines)
    return [requirement for requirement in requirements if requirement]


def read_readme() -> str:
    """Read the README, which is the long description."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


class BuildWithConfigs(build_py):
    """Put configs, tools and the weights of the demo into the package, as OpenMMLab's have it.

    An editable installation reads them where they are. ``knowswap_mm/installation.py`` finds both.
    """

    SHIPPED = (
        'configs/**/*.py',
        'configs/**/*.yml',
        'configs/**/*.txt',
        'model-index.yml',
        'tools/*.py',
        'tools/*.sh',
        'tools/analysis_tools/*.py',
        'tools/dataset_converters/*.py',
        'tools/model_converters/*.py',
        'weights/vit-demo*.safetensors',
        'weights/dino-mini_12cls.safetensors',
        'weights/mask2former-mini_16cls.safetensors',
    )

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for pattern in self.SHIPPED:
            found = [path for path in ROOT.glob(pattern) if path.is_file()]
            if not found:
                raise RuntimeError(f'there is no {pattern} in {ROOT}, which the package needs')
            for path in found:
                place = Path(self.build_lib, 'knowswap_mm', '.mim', path.relative_to(ROOT))
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)


extras = {name: read_requirements(name) for name in EXTRAS}
extras['all'] = sorted({line for lines in extras.values() for line in lines})

setup(
    name='knowswap_mm',
    version=read_version(),
    description='Knowledge swapping for OpenMMLab: learn new classes, forget some, keep the rest',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='knowswap_mm contributors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['computer vision', 'machine unlearning', 'continual learning', 'LoRA', 'OpenMMLab'],
    packages=find_packages(include=['knowswap_mm', 'knowswap_mm.*']),
    package_data={'knowswap_mm': ['visualization/report/*.css', 'visualization/report/*.html']},
    cmdclass=dict(build_py=BuildWithConfigs),
    python_requires='>=3.10,<3.14',
    install_requires=read_requirements('runtime'),
    extras_require=extras,
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    entry_points={'console_scripts': ['knowswap = knowswap_mm.cli.main:main']},
    zip_safe=False,
)
