"""Loose files of every kind: found by reading, verified by loading, named by the record."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Install
from loose_components import FILES, NOISE, SELECTOR, write_all
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.resolve import resolve
from nlbench.errors import PluginError
from nlbench.plugins import registry
from nlbench.plugins.registry import KINDS, add_plugin_file, components, find
from nlbench.results.record import RunRecord


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_what_the_file_defines(tmp_path: Path, kind: registry.Kind) -> None:
    component = add_plugin_file(write_all(tmp_path)[kind])
    assert component.kind == kind
    assert component.problem == ""
    assert component.summary.endswith("for tests.")
    assert components(kind)[component.name] == component
    assert callable(component.load())
    assert not any(component.name in components(other) for other in KINDS if other != kind)


def test_listing_loose_files_imports_neither_torch_nor_the_file(tmp_path: Path) -> None:
    paths = write_all(tmp_path)
    for path in paths.values():
        path.write_text(path.read_text() + "\nprint('imported')\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from nlbench.plugins.registry import add_plugin_file\n"
        "print(*(add_plugin_file(Path(p)).kind for p in sys.argv[1:]), 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, *map(str, paths.values())]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*paths, "False"]


BODY = "\n    def select(self, data): ...\n"
WAYS = {
    "alias": "from nlbench import Selector as S\nclass Mine(S):" + BODY,
    "module": "import nlbench\nclass Mine(nlbench.Selector):" + BODY,
    "long module": "import nlbench.selector\nclass Mine(nlbench.selector.OnlineSelector):" + BODY,
    "own base": "from nlbench import Selector\nclass _B(Selector): ...\nclass Mine(_B):" + BODY,
    "built-in": "from nlbench_selectors.random import Random\nclass Mine(Random):" + BODY,
    "beside": "import beside\nclass Mine(beside.Theirs):" + BODY,
    "in a try": "try:\n    from nlbench import Selector\nexcept ImportError:\n    raise\n"
    "if True:\n    class Mine(Selector):\n        def select(self, data): ...\n",
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_a_base_is_followed_through_imports_and_aliases(tmp_path: Path, text: str) -> None:
    (tmp_path / "beside.py").write_text(
        "from nlbench.selector import Selector\nclass Theirs(Selector): ...\n"
    )
    path = tmp_path / "mine.py"
    path.write_text(text)
    component = add_plugin_file(path)
    assert (component.kind, component.problem) == ("selectors", "")


def test_a_subclass_of_a_concrete_trainer_and_encoder(tmp_path: Path) -> None:
    path = tmp_path / "warm.py"
    path.write_text("from nlbench.training.sgd import SgdTrainer\nclass Warm(SgdTrainer): ...\n")
    assert add_plugin_file(path).kind == "trainers"
    path = tmp_path / "net.py"
    path.write_text(
        "from nlbench.encoders.timm_encoder import TimmEncoder as T\nclass Net(T): ...\n"
    )
    assert add_plugin_file(path).kind == "encoders"


def test_two_components_in_a_file_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "both.py"
    path.write_text(SELECTOR + NOISE)
    component = add_plugin_file(path)
    assert re.search(r"got Mine \(a selector\), swap_two \(a noise\)", component.problem)
    with pytest.raises(PluginError, match="exactly one public component"):
        component.load()


def test_loading_verifies_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "made_late.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom nlbench import Dataset\n"
        "Mine = dataclass(type('Mine', (Dataset,), {'__module__': __name__}))\n"
    )
    with pytest.raises(PluginError, match="must define a selector here, got a dataset, Mine"):
        add_plugin_file(path).load()


@pytest.mark.parametrize("kind", ["trainers", "datasets"])
def test_a_class_that_is_no_dataclass(tmp_path: Path, kind: registry.Kind) -> None:
    path = write_all(tmp_path)[kind]
    path.write_text(path.read_text().replace("@dataclass(frozen=True)\n", ""))
    component = add_plugin_file(path)
    if kind == "datasets":
        with pytest.raises(PluginError, match="must be a dataclass"):
            component.load()
    else:  # its parent is one, and its settings are the parent's
        assert component.load()


def test_a_taken_name_is_refused_for_its_kind_only(tmp_path: Path) -> None:
    path = tmp_path / "pair.py"
    path.write_text(NOISE)
    with pytest.raises(PluginError, match="noise name 'pair' is taken"):
        add_plugin_file(path)
    path.write_text(SELECTOR)
    assert add_plugin_file(path).kind == "selectors"


@pytest.fixture(scope="module")
def run_of_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], RunRecord]:
    """A run whose selector, trainer, noise, data set and encoder are all loose files."""
    folder = tmp_path_factory.mktemp("loose")
    paths = write_all(folder / "plug ins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_plugin_files", [])
        patch.setenv("NLBENCH_CACHE", str(folder / "cache"))
        record = nlbench.run(
            "my-selector", "my-stripes", "my-noise", 0.3, trainer="my-trainer", epochs=1,
            plugins=list(paths.values()), home=folder / "home", track=False,
            settings={"protocol.image_encoder": "my-encoder", "trainer.batch_size": 16},
        )  # fmt: skip
    return paths, record


def test_every_loose_file_is_in_the_command_and_its_code_in_the_versions(
    run_of_all: tuple[dict[str, Path], RunRecord],
) -> None:
    paths, record = run_of_all
    words = shlex.split(record.command)
    named = [words[i + 1] for i, word in enumerate(words) if word == "--plugin"]
    assert sorted(named) == sorted(map(str, paths.values()))
    for part in ("selector", "trainer", "noise", "dataset", "image_encoder"):
        assert str(record.versions[part]).startswith("code:"), part


def test_the_command_of_the_record_is_the_same_run(
    run_of_all: tuple[dict[str, Path], RunRecord],
) -> None:
    paths, record = run_of_all
    for path in paths.values():
        add_plugin_file(path)
    again = resolve(
        selector="my-selector", dataset="my-stripes", noise="my-noise:0.3", trainer="my-trainer",
        epochs=1, settings={"protocol.image_encoder": "my-encoder", "trainer.batch_size": 16},
    )  # fmt: skip
    assert again.fingerprint == record.fingerprint


@pytest.mark.parametrize("kind", ["trainers", "noises", "datasets", "encoders"])
def test_an_edit_of_any_loose_file_is_another_run(tmp_path: Path, kind: str) -> None:
    paths = write_all(tmp_path)

    def fingerprint() -> str:
        for path in paths.values():
            add_plugin_file(path)
        return resolve(
            selector="my-selector", dataset="my-stripes", noise="my-noise:0.3",
            trainer="my-trainer", settings={"protocol.image_encoder": "my-encoder"},
        ).fingerprint  # fmt: skip

    before = fingerprint()
    paths[kind].write_text(paths[kind].read_text() + "\n# a remark\n")
    assert fingerprint() == before
    paths[kind].write_text(paths[kind].read_text() + "\n_EDITED = 1\n")
    assert fingerprint() != before


@pytest.mark.parametrize("kind", KINDS)
def test_list_and_show_take_a_plugin(tmp_path: Path, kind: str) -> None:
    path = write_all(tmp_path)[kind]
    name = FILES[kind][0].removesuffix(".py").replace("_", "-")
    listed = CliRunner().invoke(app, ["list", kind, "--plugin", str(path)])
    assert listed.exit_code == 0, listed.output
    assert name in listed.stdout
    shown = CliRunner().invoke(app, ["show", kind[:-1], name, "--plugin", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "for tests." in shown.stdout
    assert find(kind, name).path == path  # type: ignore[arg-type]


BARE = "from dataclasses import dataclass\nfrom nlbench import Selector\n\n\n@dataclass\nclass Mine"
SUMMARIES = {
    "of the class": (
        '"""Of the module."""\n' + BARE + '(Selector):\n    """Of the class."""\n',
        "class",
    ),
    "of the module": ('"""Of the module."""\n' + BARE + "(Selector): ...\n", "module"),
}


@pytest.mark.parametrize(("text", "whose"), SUMMARIES.values(), ids=SUMMARIES)
def test_the_summary_of_an_entry_point(install: Install, text: str, whose: str) -> None:
    files = {
        "shiny_sum/__init__.py": "from shiny_sum.core import Mine\n",
        "shiny_sum/core.py": text,
    }
    entry = "[nlbench.selectors]\nshiny = shiny_sum.core:Mine\nagain = shiny_sum:Mine\n"
    install("shiny-sum", files, entry)
    assert components("selectors")["shiny"].summary == f"Of the {whose}."
    if whose == "class":  # through what the package passes on
        assert components("selectors")["again"].summary == "Of the class."
    assert "shiny_sum" not in sys.modules
