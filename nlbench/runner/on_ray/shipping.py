"""What the nodes lack: plugins and the files that settings name, staged in one folder.

Ray sends the folder to every node (`working_dir` of its runtime environment). A file counts by its
content, so that a run with the same file under another path is the same run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from nlbench.errors import refusals
from nlbench.plugins import registry
from nlbench.runner.work import Work

log = logging.getLogger("nlbench")

_IN_PARCEL = "nlbench-parcel:"

MOST_BYTES = 256 * 2**20
"""A file or model folder above this is not sent: nodes must have it at the same path."""


def opened(work: Work, root: Path) -> Work:
    """Return work that `Parcel.addressed` returned, where the folder is `root`."""

    def place_of(name: str) -> str:
        place = name.removeprefix(_IN_PARCEL)
        return name if place == name else str(root / place)

    return work.moved(place_of)


class Parcel:
    """The folder that goes to the nodes.

    Attributes:
        folder: The folder, the caller's to delete.
        plugins: The loose files, as they are called below it.
        packages: Folders of Python packages that nodes may lack: files were dropped into them.
    """

    def __init__(self, folder: Path, works: Iterable[Work]) -> None:
        self.folder = folder
        self._places: dict[Path, str] = {}
        self.plugins = tuple(self._staged(path) for path in registry.plugin_files())
        packages: set[Path] = set()
        for work in works:
            work.moved(self._staged)
            packages |= {
                component.path.parent
                for component in work.components()
                if component.is_shipped and not component.keeps_version and component.path
                and (component.path.parent / "__init__.py").is_file()
                and not component.attribute
            }  # fmt: skip
        self.packages = tuple(sorted(packages))

    def addressed(self, work: Work) -> Work:
        """Return work that names its files as they are called below the folder; see `opened`."""
        return work.moved(self._address)

    def _address(self, name: str) -> str:
        place = self._staged(name)
        return f"{_IN_PARCEL}{place}" if place else name

    def _staged(self, name: str | Path) -> str:
        """Copy a file or folder once; return its place in the folder, "" if it is too large."""
        path = Path(name).expanduser().absolute()
        if path not in self._places:
            self._places[path] = self._copied(path)
        return self._places[path]

    def _copied(self, path: Path) -> str:
        with refusals(path, "read"):
            files = [f for f in path.iterdir() if f.is_file()] if path.is_dir() else [path]
            n_bytes = sum(file.stat().st_size for file in files)
            if n_bytes > MOST_BYTES:
                log.warning(
                    "'%s' has %.0f MiB and is not sent: each node needs it at that path.",
                    path, n_bytes / 2**20,
                )  # fmt: skip
                return ""
            place = f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}/{path.name}"
            target = self.folder / place
            for file in files:
                to = target / file.name if path.is_dir() else target
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to)
        return place
