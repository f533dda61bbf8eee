"""A limit of the kernel on the size of files, and a disk that is really full: one line, no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

WRAPPED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the kernel answers EFBIG
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from nlbench.cli import main
main()
"""
GRID = ("--selector", "random", "--epochs", "1")
SWEEP = ("sweep", *GRID, "--noise", "symmetric:0.4", "--seeds", "0-1")

pytestmark = pytest.mark.slow


def ran(home: Path, *words: object, limit: int = 0) -> subprocess.CompletedProcess[str]:
    places = {"NLBENCH_HOME": str(home), "NLBENCH_CACHE": str(home / "cache")}
    return subprocess.run(
        [sys.executable, "-B", "-c", WRAPPED, str(limit), *map(str, words)],
        env={**os.environ, **places}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that has no byte left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb") as file:
            for _ in range(2**11):
                file.write(bytes(1024))
                file.flush()
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def assert_refused(result: subprocess.CompletedProcess[str], reason: str, cure: str) -> None:
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert reason in result.stderr
    assert cure in result.stderr


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for words in (("run", *GRID), SWEEP):
        assert_refused(ran(home, *words, limit=2048), "File too large", "ulimit -f")
    assert ran(home, *SWEEP).returncode == 0  # nothing that was half-written is in the way
    out = tmp_path / "runs.json"
    assert_refused(
        ran(home, "export", "--all", "--out", out, limit=2048), "File too large", "ulimit"
    )
    assert not out.exists()
    page = tmp_path / "page"
    assert_refused(ran(home, "leaderboard", "--out", page, limit=2048), "File too large", "ulimit")


def test_a_disk_that_is_full(full: Path, tmp_path: Path) -> None:
    for words in (("run", *GRID), SWEEP):
        assert_refused(ran(full / "home", *words), "No space left", "Free some space")
    home = tmp_path / "home"
    assert ran(home, *SWEEP).returncode == 0
    for command in (("export", "--all", "--out", full / "runs.json"),
                    ("leaderboard", "--out", full / "page")):  # fmt: skip
        assert_refused(ran(home, *command), "No space left", "Free some space")
    assert [path.name for path in full.iterdir() if path.is_file()] == ["filler"]
