"""Make a torchvision that was built for CUDA importable beside a CPU build of torch.

The C library of such a torchvision cannot be loaded, so the operators ``torchvision::nms`` and
``torchvision::qnms`` are never declared, and ``import torchvision`` fails with "operator
torchvision::nms does not exist" while it registers their meta kernels. Declaring the two schemas
cures the import. The operators have no kernel then, and need none: the hosts take theirs from
``mmcv.ops``.

Importing ``knowswap_mm`` calls :func:`install`, which imports nothing but :mod:`sys`; the work is
done right before torchvision is executed for the first time. With CUDA, with HIP, and with a
torchvision that matches its torch, nothing is declared.

The tools of the hosts may import torchvision before us. So ``tools/setup/install_shim.py`` copies
this file into the site-packages of a clone's environment, beside a ``.pth`` file that calls
:func:`install` at every start of the interpreter.
"""

import sys

SCHEMAS = {
    'nms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
}


class TorchvisionFinder:
    """Meta-path finder that runs :func:`declare_schemas` before torchvision is executed.

    It finds nothing itself: it asks the other finders and hooks into the loader they return, so
    that a mere ``importlib.util.find_spec('torchvision')`` does not import torch.
    """

    def find_spec(self, fullname, path=None, target=None):
        """Return the spec of torchvision with a hooked loader, and None for every other module."""
        if fullname != 'torchvision':
            return None
        spec = _find_elsewhere(self, fullname, path, target)
        if spec is None or not hasattr(spec.loader, 'exec_module'):
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            declare_schemas(spec.submodule_search_locations)
            execute(module)

        spec.loader.exec_module = exec_module
        return spec


def _find_elsewhere(own_finder, fullname, path, target):
    for finder in sys.meta_path:
        if finder is not own_finder and hasattr(finder, 'find_spec'):
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                return spec
    return None


def declare_schemas(locations):
    """Declare the schemas that are missing because torchvision's C library cannot be loaded.

    Args:
        locations (list[str] | None): The folders of the torchvision package.

    Returns:
        list[str]: The names of the operators that were declared.
    """
    try:
        import torch
    except ImportError:
        return []  # torchvision itself reports this best
    if torch.version.cuda or torch.version.hip or _c_library_loads(torch, locations):
        return []
    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    for name in missing:
        torch.library.define(f'torchvision::{name}', SCHEMAS[name])
    return missing


def _c_library_loads(torch, locations):
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec('_C', locations or [])
    if spec is None:
        return False
    try:
        torch.ops.load_library(spec.origin)
    except OSError:
        return False
    return True


def install():
    """Put the finder in front of the others, unless it is there or torchvision was imported."""
    installed = any(type(finder).__name__ == TorchvisionFinder.__name__ for finder in sys.meta_path)
    if not installed and 'torchvision' not in sys.modules:
        sys.meta_path.insert(0, TorchvisionFinder())
