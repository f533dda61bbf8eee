"""What every test gets: an empty home, no network, one thread, no plugins left over."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from browser_tabs import browser, shots, tab  # noqa: F401, fixtures

import nlbench_selectors
from nlbench.plugins import registry
from nlbench.tracking import opening

# huggingface_hub reads this once, on import: a fixture would come too late.
os.environ["HF_HUB_OFFLINE"] = "1"

Install = Callable[[str, dict[str, str], str], Path]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Have Ctrl-C work where a shell began the tests in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first MLflow store that a test made is kept for the others: it takes seconds."""
    return tmp_path_factory.mktemp("empty-store") / "mlflow.db"


@pytest.fixture(autouse=True)
def copied_store(
    empty_store: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = opening._create
    if request.path.name == "test_opening.py":  # how a store is made
        return

    def copy(path: Path) -> None:
        if not empty_store.exists():
            create(path)
            shutil.copyfile(path, empty_store)
        elif not path.exists() or not path.stat().st_size:
            shutil.copyfile(empty_store, path)

    monkeypatch.setattr(opening, "_create", copy)


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(registry, "_plugin_files", [])


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real data sets: NLBENCH_TEST_DATA, else ../shared/data."""
    named = os.environ.get("NLBENCH_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data in '{folder}': name its folder with NLBENCH_TEST_DATA")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put packages on the path as pip would: files, and metadata with entry points."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    known = set(sys.modules)

    def put(distribution: str, files: dict[str, str], entry_points: str) -> Path:
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        written = {f"{info.name}/METADATA": metadata, f"{info.name}/entry_points.txt": entry_points}
        for name, text in {**files, **written}.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        registry.rediscover()
        return site

    yield put
    registry.rediscover()
    for name in set(sys.modules) - known:
        if str(site) in str(getattr(sys.modules[name], "__file__", "") or ""):
            del sys.modules[name]


@pytest.fixture
def own_selectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package of selectors, in place of the installed one."""
    assert nlbench_selectors.__file__ is not None
    source, copied = Path(nlbench_selectors.__file__).parent, tmp_path / "own" / "nlbench_selectors"
    shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
    for name in [n for n in sys.modules if n.partition(".")[0] == "nlbench_selectors"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(copied.parent))
    registry.rediscover()
    yield copied
    registry.rediscover()
    for name in [n for n in sys.modules if n.partition(".")[0] == "nlbench_selectors"]:
        del sys.modules[name]


@pytest.fixture
def plugin_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a selector with the given fields into a loose file."""

    def write(name: str = "keep_all.py", fields: str = "", folder: str = "plugins") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SELECTOR.replace("FIELDS", fields))
        return path

    return write


SELECTOR = '''"""Keeps everything; for tests.

More about it.
"""
from dataclasses import dataclass
import torch
from nlbench import Selection, Selector


@dataclass(frozen=True)
class KeepAll(Selector):
    """Keep all."""

    FIELDS

    def select(self, data):
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=keep.double())
'''
