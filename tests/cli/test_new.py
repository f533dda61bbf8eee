"""``nlbench new``: what it writes works as it is, and it overwrites and hides nothing."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.cli.new_files import OFFERED
from nlbench.conformance import check_component
from nlbench.plugins import registry
from nlbench.plugins.kinds import singular

WAYS = {
    "selector": ("selector", "my-idea"),
    "online selector": ("selector", "my-late-idea", "--online"),
    "batch selector": ("selector", "my-batch-idea", "--batch"),
    "trainer": ("trainer", "my-loss"),
    "noise": ("noise", "my-noise"),
    "dataset": ("dataset", "my-drawings"),
    "encoder": ("encoder", "my-edges"),
}


def new(*words: object) -> Result:
    return CliRunner().invoke(app, ["new", *map(str, words)])


def steps(result: Result) -> list[list[str]]:
    """Return the commands that the output names, split into words."""
    return [shlex.split(line) for line in result.stdout.partition("Next:")[2].splitlines() if line]


def test_every_template_is_tried() -> None:
    assert {words[0] for words in WAYS.values()} == {singular(kind) for kind in OFFERED}


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_a_file_passes_every_check(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = new(*words, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.iterdir()
    assert path.name == f"{words[1].replace('-', '_')}.py"
    component = registry.add_plugin_file(path)
    assert singular(component.kind) == words[0]
    assert component.summary.startswith(words[1].replace("-", " ").capitalize())
    results = check_component(component.kind, component.load(), component.name)
    assert [r.report for r in results if r.status != "passed"] == []
    assert "@" not in path.read_text().replace("@dataclass", "")


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_the_next_steps_can_be_typed(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nlbench.runner.run.open_tracker", lambda uri, store: None)
    check, run = steps(new(*words))
    assert check == ["nlbench", "check", f"{words[1].replace('-', '_')}.py"]
    done = CliRunner().invoke(app, [*run[1:], "--epochs", "1"])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A package of each kind, as they are written, and a folder where pip installed them."""
    folder = tmp_path_factory.mktemp("packages")
    for words in WAYS.values():
        result = new(*words, "--package", "--out", folder / "written")
        assert result.exit_code == 0, result.output
    site = folder / "site"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    paths = sorted((folder / "written").iterdir())
    subprocess.run([sys.executable, *pip, "--target", site, *paths], check=True, timeout=300)
    return folder / "written", site


def within(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_packages_are_listed_and_their_own_tests_pass(packages: tuple[Path, Path]) -> None:
    written, site = packages
    listed = within(site, "-m", "nlbench", "list")
    for words in WAYS.values():
        assert words[1] in listed.stdout
    assert "broken" not in listed.stdout
    tests = sorted(written.glob("*/tests"))
    assert len(tests) == len(WAYS)
    done = within(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_a_package_has_all_that_a_repository_needs(packages: tuple[Path, Path]) -> None:
    written, _ = packages
    folder = written / "nlbench-my-idea"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= {
        "pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml",
        "src/nlbench_my_idea/__init__.py", "src/nlbench_my_idea/my_idea.py",
        "tests/test_my_idea.py",
    }  # fmt: skip
    assert "LICENSE" not in files  # the author's choice
    assert "licence" in (folder / "README.md").read_text()
    assert not [path for path in written.iterdir() if path.name.startswith(".")]


BAD = {
    "capitals": (("selector", "MyIdea"), 2, "Try 'myidea'"),
    "underscore": (("selector", "my_idea"), 2, "Try 'my-idea'"),
    "digit first": (("noise", "2nd"), 2, "begin with a letter"),
    "path": (("noise", "../up"), 2, "Try 'up'"),
    "empty": (("noise", ""), 2, "must be lower-case"),
    "keyword": (("selector", "class"), 2, "a word or module of Python"),
    "standard library": (("selector", "json"), 2, "json.py would hide it"),
    "taken": (("selector", "clip-knn"), 4, "'clip-knn' is taken by nlbench"),
    "taken noise": (("noise", "pair"), 4, "is taken"),
    "near kind": (("selectr", "mine"), 2, "Did you mean 'selector'"),
    "online noise": (("noise", "mine", "--online"), 2, "--online is for selectors"),
    "batch trainer": (("trainer", "mine", "--batch"), 2, "--batch is for selectors"),
    "two times": (("selector", "mine", "--online", "--batch"), 2, "not both"),
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD)
def test_a_bad_name_is_refused_and_nothing_is_written(
    tmp_path: Path, words: tuple[tuple[str, ...], int, str]
) -> None:
    given, code, message = words
    for more in ((), ("--package",)):
        result = new(*given, *more, "--out", tmp_path)
        assert result.exit_code == code, result.output
        assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [(), ("--package",)], ids=["file", "package"])
def test_nothing_is_overwritten(tmp_path: Path, more: tuple[str, ...]) -> None:
    assert new("noise", "mine", *more, "--out", tmp_path).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = new("noise", "mine", *more, "--out", tmp_path)
    assert result.exit_code == 2
    assert "is there already and is not overwritten" in result.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_package_that_is_installed_already_is_not_hidden(tmp_path: Path) -> None:
    result = new("selector", "leaderboard", "--package", "--out", tmp_path)
    assert result.exit_code == 2
    assert "a package 'nlbench_leaderboard' is installed already" in result.stderr


def test_an_interrupted_package_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupt)
    assert new("noise", "mine", "--package", "--out", tmp_path).exit_code != 0
    assert list(tmp_path.iterdir()) == []
