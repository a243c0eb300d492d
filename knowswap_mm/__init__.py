"""Knowledge swapping for OpenMMLab models: learn new classes, forget some, keep the rest.

Configs write ``type='knowswap_mm.X'``, and mmengine imports :mod:`knowswap_mm.registry` for it.
Importing the package itself pulls in nothing, so that ``knowswap --help`` comes at once.
"""

from knowswap_mm import torchvision_schema_shim
from knowswap_mm.version import __version__ as __version__

torchvision_schema_shim.install()
