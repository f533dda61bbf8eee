"""The example distribution, as its author would use it: installed, ranked, and gone again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "nlbench-centroid"
RUN = """
import nlbench
for name in ("nearest-centroid", "random"):
    nlbench.run(name, noise="symmetric", noise_rate=0.4, epochs=1, track=False)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where pip installed the example, from a copy: building leaves files behind."""
    folder = tmp_path_factory.mktemp("example")
    copy = shutil.copytree(EXAMPLE, folder / "source")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run(
        [sys.executable, *pip, "--target", folder / "site", copy], check=True, timeout=300
    )
    return folder / "site"


def within(site: Path, *words: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def entries(site: Path) -> dict[str, dict[str, str]]:
    listed = json.loads(within(site, "-m", "nlbench", "list", "selectors", "--json"))
    return {entry["name"]: entry for entry in listed}


def test_it_is_listed_run_ranked_and_gone_when_it_is_uninstalled(site: Path) -> None:
    entry = entries(site)["nearest-centroid"]
    assert entry["problem"] == ""
    assert entry["owner"].startswith("nlbench-centroid")
    assert entry["summary"].startswith("Keep a label where no other class has a centre nearer")
    within(site, "-c", RUN)
    (board,) = json.loads(within(site, "-m", "nlbench", "leaderboard", "--json"))["boards"]
    ranks = {row["method"]: row["rank"] for row in board["rows"]}
    assert ranks["nearest-centroid"] == 1, ranks
    away = site.with_name("away")
    site.rename(away)
    try:
        assert "nearest-centroid" not in entries(site)
    finally:
        away.rename(site)


def test_its_own_tests_pass(site: Path) -> None:
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", EXAMPLE / "tests")
    assert " passed" in within(site, *tests)
