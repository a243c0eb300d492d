"""Knowledge swapping for OpenMMLab models: learn new classes, forget some, keep the rest.

Importing the package registers its modules with mmengine lazily; it pulls in neither a host
(mmpretrain, mmdet, mmseg) nor peft. Configs write ``type='knowswap_mm.X'``.
"""

from knowswap_mm import registry as registry
from knowswap_mm.version import __version__ as __version__
