"""What the package requires, as its metadata say: setup.py writes requirements/*.txt into them."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

#: Extras for working on the package, and the one that repeats all others.
_NOT_FOR_USERS = ('all', 'tests')


def installed_version(name: str) -> str | None:
    """Version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_requirements() -> list[tuple[Requirement, tuple[str, ...]]]:
    """Each requirement, with the extras that it is for; no extras: everybody needs it.

    Raises:
        importlib.metadata.PackageNotFoundError: If ``knowswap_mm`` is not installed.
    """
    about = metadata.metadata('knowswap_mm')
    extras = [name for name in about.get_all('Provides-Extra', []) if name not in _NOT_FOR_USERS]
    found = []
    for line in metadata.requires('knowswap_mm') or []:
        requirement = Requirement(line)
        marker, requirement.marker = requirement.marker, None
        if marker is None or marker.evaluate(dict(extra='')):
            found.append((requirement, ()))
        else:
            chosen = tuple(name for name in extras if marker.evaluate(dict(extra=name)))
            found += [(requirement, chosen)] if chosen else []
    merged: dict[str, tuple[Requirement, tuple[str, ...]]] = {}
    for requirement, chosen in found:
        before = merged.get(str(requirement), (requirement, ()))[1]
        merged[str(requirement)] = (requirement, (*before, *chosen))
    return list(merged.values())
