"""performance.py files: what it costs to know an image folder by its contents."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from nlbench.data import file_memory
from nlbench.data.class_folders import Tally, class_files
from nlbench.data.file_contents import contents_sha256
from timings.timing import machine, seconds, table, timed

_PER_FOLDER = 10_000


def run(arguments: argparse.Namespace) -> None:
    """Print the table: the first time, when nothing changed, when one file changed."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NLBENCH_CACHE"] = f"{folder}/cache"
        root = Path(folder) / "images"
        made_s, _ = timed(lambda: _make(root, arguments.n, arguments.bytes))
        print(f"{machine('cpu')} {arguments.n} files made in {seconds(made_s)}.\n")
        # Files that were written a moment ago are not trusted yet; these were not touched since.
        file_memory._TICK_NS = 0
        list_s, files = timed(lambda: class_files(root, root, False, Tally()))
        names = [file.name for file in files]
        first_s, _ = timed(lambda: contents_sha256(root, names))
        again_s, _ = timed(lambda: contents_sha256(root, names))
        (root / names[0]).write_bytes(b"changed")
        one_s, _ = timed(lambda: contents_sha256(root, names))
        rows = [
            ["listing", seconds(list_s)],
            ["contents, first time", seconds(first_s)],
            ["contents, nothing changed", seconds(again_s)],
            ["contents, one file changed", seconds(one_s)],
        ]
        print(table(["step", f"{arguments.n} files of {arguments.bytes} bytes"], rows))
        memory = sum(file.stat().st_size for file in Path(f"{folder}/cache").rglob("*.npz"))
        print(f"\nThe memory takes {memory / 2**20:.0f} MiB.")


def _make(root: Path, n: int, n_bytes: int) -> None:
    for first in range(0, n, _PER_FOLDER):
        folder = root / f"class_{first // _PER_FOLDER:03d}"
        folder.mkdir(parents=True)
        for i in range(first, min(first + _PER_FOLDER, n)):
            (folder / f"{i:07d}.jpg").write_bytes(i.to_bytes(8, "little") * (n_bytes // 8))
