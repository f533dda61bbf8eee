"""What stands for code in a fingerprint: which edits change it, and which do not."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SELECTOR, Install
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.config.resolve import resolve
from nlbench.errors import PluginError
from nlbench.plugins import registry
from nlbench.plugins.registry import add_plugin_file, find
from nlbench.plugins.source_code import _read
from nlbench.plugins.versions import uses_scoring, version_of, versioned
from nlbench_selectors.small_loss import SmallLoss

PluginFile = Callable[..., Path]


def version(kind: registry.Kind, name: str) -> int | str:
    return version_of(find(kind, name))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    importlib.invalidate_caches()


HARMLESS = {
    "docstring of the module": ("Keeps everything; for tests.", "Keeps all of it."),
    "docstring of the class": ('"""Keep all."""', '"""Keep every sample."""'),
    "no docstring of the class": ('    """Keep all."""\n\n', ""),
    "text under a field": ("    top: int = 3\n", '    top: int = 3\n    """How many."""\n'),
    "comment": ("import torch\n", "import torch  # tensors\n# more\n"),
    "blank lines": ("\n\n@dataclass", "\n\n\n\n@dataclass"),
    "broken lines": ("torch.ones_like(data", "torch.ones_like(\n            data"),
    "other quotes": ("from dataclasses", "from dataclasses"),
    "line endings": ("\n", "\r\n"),
}
CODE = {
    "a constant": ("top: int = 3", "top: int = 4"),
    "an operation": ("score=keep.double()", "score=-keep.double()"),
    "an import": ("import torch\n", "import torch, math\n"),
    "a name": ("class KeepAll", "class KeepEvery"),
    "a decorator": ("frozen=True", "frozen=True, order=True"),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_words_and_layout_are_no_code(plugin_file: PluginFile, change: str) -> None:
    path = plugin_file(fields="top: int = 3")
    add_plugin_file(path)
    before = version("selectors", "keep-all")
    assert str(before).startswith("code:")
    path.write_bytes(path.read_bytes().replace(*(part.encode() for part in HARMLESS[change])))
    assert version("selectors", "keep-all") == before


@pytest.mark.parametrize("change", CODE)
def test_an_edit_of_code_in_a_loose_file_counts(plugin_file: PluginFile, change: str) -> None:
    path = plugin_file(fields="top: int = 3")
    add_plugin_file(path)
    before = version("selectors", "keep-all")
    edit(path, *CODE[change])
    assert version("selectors", "keep-all") != before


def test_the_folder_does_not_count(
    plugin_file: PluginFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = set()
    for folder in ("a", "b/c"):
        path = plugin_file(folder=folder)
        (path.parent / "my_helper.py").write_text("SIGN = 1\n")
        edit(path, "import torch\n", "import torch\nimport my_helper\n")
        monkeypatch.setattr(registry, "_plugin_files", [])
        add_plugin_file(path)
        versions.add(version("selectors", "keep-all"))
    assert len(versions) == 1


HELPERS = {
    "a module": ("import my_helper", "my_helper.py"),
    "names of a module": ("from my_helper import SIGN", "my_helper.py"),
    "a package": ("import my_helper", "my_helper/__init__.py"),
    "a module of a package": ("from my_helper import deep", "my_helper/deep.py"),
    "the package above a module": ("import my_helper.deep", "my_helper/__init__.py"),
    "a namespace": ("from my_space.deep import SIGN", "my_space/deep.py"),
    "inside a function": ("def later():\n    import my_helper", "my_helper.py"),
}


@pytest.mark.parametrize("how", HELPERS)
@pytest.mark.parametrize("on_the_path", [True, False])
def test_an_edit_of_a_helper_beside_a_loose_file_counts(
    plugin_file: PluginFile, monkeypatch: pytest.MonkeyPatch, how: str, on_the_path: bool
) -> None:
    line, name = HELPERS[how]
    path = plugin_file()
    for file in {name, *(["my_helper/__init__.py", "my_helper/deep.py"] if "/" in name else [])}:
        helper = path.parent / file
        helper.parent.mkdir(exist_ok=True)
        helper.write_text("SIGN = 1\n")
    if "my_space" in name:
        (path.parent / "my_helper" / "__init__.py").unlink()
    if on_the_path:
        monkeypatch.syspath_prepend(str(path.parent))
    edit(path, "import torch\n", f"import torch\n{line}\n")
    add_plugin_file(path)
    before = version("selectors", "keep-all")
    edit(path.parent / name, "SIGN = 1", "SIGN = 1  # words")
    assert version("selectors", "keep-all") == before
    edit(path.parent / name, "SIGN = 1", "SIGN = -1")
    assert version("selectors", "keep-all") != before


def test_a_helper_of_a_helper_counts_and_a_circle_ends(plugin_file: PluginFile) -> None:
    path = plugin_file()
    edit(path, "import torch\n", "import torch\nimport my_first\n")
    (path.parent / "my_first.py").write_text("import my_second\n")
    (path.parent / "my_second.py").write_text("import my_first\nSIGN = 1\n")
    add_plugin_file(path)
    before = version("selectors", "keep-all")
    edit(path.parent / "my_second.py", "1", "2")
    assert version("selectors", "keep-all") != before


def test_installed_packages_do_not_count(
    plugin_file: PluginFile, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the package is in another environment's folder that is on the path."""
    site = install("theirs", {"their_tools.py": "VALUE = 1\n"}, "")
    path = plugin_file()
    edit(path, "import torch\n", "import torch, numpy, yaml, os\nimport their_tools\n")
    add_plugin_file(path)
    before = version("selectors", "keep-all")
    edit(site / "their_tools.py", "1", "2")
    assert version("selectors", "keep-all") == before


TRAINER = """
from dataclasses import dataclass
from torch import nn
from nlbench.training.sgd import SgdTrainer
from .factors import FACTOR

@dataclass(frozen=True)
class Scaled(SgdTrainer):
    def loss(self, network, batch, labels, draws):
        return FACTOR * nn.functional.cross_entropy(network(batch), labels)
"""
PACKAGE = {
    "their_plugins/__init__.py": "",
    "their_plugins/chosen/__init__.py": "",
    "their_plugins/chosen/keep_all.py": SELECTOR,
    "their_plugins/trainer.py": TRAINER,
    "their_plugins/factors.py": "FACTOR = 1.0\n",
    "their_plugins/noise.py": (
        "def swap(clean, n_classes, rate: float, rng):\n"
        "    import numpy\n"
        "    return (clean + 1) % n_classes, numpy.eye(n_classes)\n"
    ),
    "their_plugins/data.py": (
        "from dataclasses import dataclass\n"
        "from nlbench.data.digits import Digits\n\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Digits):\n    share: float = 1.0\n"
    ),
    "their_plugins/encoder.py": "def encoder(argument=''):\n    return argument\n",
    "their_plugins/_deep/other.py": "VALUE = 1\n",
}
POINTS = """
[nlbench.selectors]
theirs = their_plugins.chosen
[nlbench.trainers]
scaled = their_plugins.trainer:Scaled
[nlbench.noises]
swap = their_plugins.noise:swap
[nlbench.datasets]
mine = their_plugins.data:Mine
[nlbench.encoders]
enc = their_plugins.encoder:encoder
"""
PARTS: dict[registry.Kind, str] = {
    "selectors": "keep-all",
    "trainers": "scaled",
    "noises": "swap",
    "datasets": "mine",
    "encoders": "enc",
}
EDITS = {
    "their_plugins/__init__.py": ("", "VALUE = 1\n"),
    "their_plugins/chosen/__init__.py": ("", "VALUE = 1\n"),
    "their_plugins/chosen/keep_all.py": ("keep.double()", "-keep.double()"),
    "their_plugins/trainer.py": ("FACTOR * nn", "2 * FACTOR * nn"),
    "their_plugins/factors.py": ("1.0", "2.0"),
    "their_plugins/noise.py": ("clean + 1", "clean + 2"),
    "their_plugins/data.py": ("= 1.0", "= 2.0"),
    "their_plugins/encoder.py": ("return argument", "return None"),
    "their_plugins/_deep/other.py": ("1", "2"),
}


def test_every_module_of_a_package_counts_for_all_of_its_parts(install: Install) -> None:
    site = install("their-plugins", PACKAGE, POINTS)
    assert set(EDITS) == set(PACKAGE)
    for name, (old, new) in EDITS.items():
        before = {kind: version(kind, part) for kind, part in PARTS.items()}
        path = site / name
        path.write_text(path.read_text().replace(old, new) if old else new)
        after = {kind: version(kind, part) for kind, part in PARTS.items()}
        assert [kind for kind in PARTS if before[kind] == after[kind]] == [], name


def test_words_in_a_package_are_no_code(install: Install) -> None:
    site = install("their-plugins", PACKAGE, POINTS)
    before = {kind: version(kind, part) for kind, part in PARTS.items()}
    for name in PACKAGE:
        text = (site / name).read_text()
        (site / name).write_text(f"{text}\n# a comment\n")
    edit(site / "their_plugins/factors.py", "FACTOR", '"""Of the loss."""\nFACTOR')
    assert {kind: version(kind, part) for kind, part in PARTS.items()} == before


def test_a_package_inside_a_namespace_counts_as_a_whole(install: Install) -> None:
    files = {f"space/{name}": text for name, text in PACKAGE.items()}
    points = POINTS.replace("= their_plugins", "= space.their_plugins")
    site = install("spaced", files, points)
    before = version("trainers", "scaled")
    edit(site / "space/their_plugins/_deep/other.py", "1", "2")
    assert version("trainers", "scaled") != before


def test_what_a_package_imports_from_a_checkout_beside_it_counts(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "their_formulas.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "checkout"))
    install(
        "their-plugins", {**PACKAGE, "their_plugins/factors.py": "import their_formulas\n"}, POINTS
    )
    before = version("trainers", "scaled")
    edit(tmp_path / "checkout" / "their_formulas.py", "1", "2")
    assert version("trainers", "scaled") != before


def test_a_file_of_a_package_that_is_no_python_does_not_stop_a_run(install: Install) -> None:
    site = install("their-plugins", {**PACKAGE, "their_plugins/template.py": "{{ x }} (\n"}, POINTS)
    before = version("noises", "swap")
    edit(site / "their_plugins/template.py", "x", "y")
    assert version("noises", "swap") != before


def test_a_plugin_on_a_built_in_component_follows_its_version(
    plugin_file: PluginFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plugin_file()
    edit(
        path, "import torch\n", "import torch\nfrom nlbench_selectors.small_loss import SmallLoss\n"
    )
    add_plugin_file(path)
    before = version("selectors", "keep-all")
    monkeypatch.setattr(SmallLoss, "version", SmallLoss.version + 1)
    assert version("selectors", "keep-all") != before


# Dropped into nlbench's own package of selectors.


def test_a_dropped_in_file_and_its_helper_are_hashed(own_selectors: Path) -> None:
    importing = "import torch\nfrom nlbench_selectors._helper import SIGN\n"
    (own_selectors / "mine.py").write_text(SELECTOR.replace("import torch\n", importing))
    (own_selectors / "_helper.py").write_text("from . import _deeper\nSIGN = 1\n")
    (own_selectors / "_deeper.py").write_text("VALUE = 1\n")
    registry.rediscover()
    seen = [version("selectors", "mine")]
    edit(own_selectors / "mine.py", "score=keep", "score=-keep")
    seen.append(version("selectors", "mine"))
    edit(own_selectors / "_helper.py", "SIGN = 1", "SIGN = -1")
    seen.append(version("selectors", "mine"))
    edit(own_selectors / "_deeper.py", "1", "2")
    seen.append(version("selectors", "mine"))
    assert all(str(v).startswith("code:") for v in seen)
    assert len(set(seen)) == 4
    edit(own_selectors / "small_loss.py", "<", "<")  # a built-in's file is not the helper's
    assert version("selectors", "mine") == seen[-1]


def test_a_copy_of_a_built_in_selector_is_hashed_whatever_its_version(own_selectors: Path) -> None:
    shutil.copy(own_selectors / "clip_knn.py", own_selectors / "my_knn.py")
    registry.rediscover()
    assert version("selectors", "clip-knn") == 1
    before = version("selectors", "my-knn")
    assert str(before).startswith("code:")
    edit(own_selectors / "my_knn.py", "2 * data.n_classes", "3 * data.n_classes")
    assert version("selectors", "my-knn") != before


def test_code_of_a_built_in_component_counts_by_its_version_alone(own_selectors: Path) -> None:
    edit(own_selectors / "clip_knn.py", "2 * data.n_classes", "3 * data.n_classes")
    registry.rediscover()
    assert version("selectors", "clip-knn") == 1


# Built-in components.


@pytest.mark.parametrize("wrong", [None, 0, -1, True, "2", 1.5])
def test_a_built_in_component_without_a_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: object
) -> None:
    monkeypatch.setattr(SmallLoss, "version", wrong)
    with pytest.raises(PluginError, match=r"'small-loss' must have a `version` >= 1, got .*Write"):
        version("selectors", "small-loss")


def test_a_raised_version_of_each_part_is_another_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fingerprint() -> str:
        return resolve(selector="clip-knn", noise="symmetric:0.4").fingerprint

    seen = {fingerprint()}
    places = {
        "selectors": "clip-knn",
        "noises": "symmetric",
        "datasets": "digits",
        "trainers": "cross-entropy",
        "encoders": "bundled-clip",
    }
    for kind, name in places.items():
        component = find(kind, name).load()  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            patch.setattr(component, "version", component.version + 1)
            seen.add(fingerprint())
    for toolbox in ("nlbench.scoring.VERSION", "nlbench.training.VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(toolbox, 99)
            seen.add(fingerprint())
    assert len(seen) == 8
    assert fingerprint() in seen


def test_versions_go_with_functions_too() -> None:
    @versioned(3)
    def noise() -> None:
        """Do nothing."""

    assert noise.version == 3  # type: ignore[attr-defined]


SCORING = {
    "from nlbench.scoring import margin": True,
    "from nlbench.scoring.scores import margin": True,
    "import nlbench.scoring as toolbox": True,
    "from nlbench import scoring": True,
    "import nlbench\nuse = lambda: nlbench.scoring.margin": True,
    "import nlbench": False,
    "from nlbench import Selection": False,
}


@pytest.mark.parametrize("line", SCORING)
@pytest.mark.parametrize("in_helper", [True, False])
def test_whether_a_plugin_uses_the_scoring_toolbox(
    plugin_file: PluginFile, line: str, in_helper: bool
) -> None:
    path = plugin_file()
    edit(path, "import torch\n", f"import torch\n{'import my_helper' if in_helper else line}\n")
    (path.parent / "my_helper.py").write_text(f"{line}\n")
    assert uses_scoring(add_plugin_file(path)) == SCORING[line]


def test_any_hyper_parameter_may_name_an_encoder(plugin_file: PluginFile) -> None:
    path = plugin_file(fields="backbone: str = 'bundled-glyphs'")
    add_plugin_file(path)
    versions = resolve(selector="keep-all", noise="symmetric:0.4").versions
    assert versions["selector_backbone"] == find("encoders", "bundled-glyphs").load().version


# The same tree on every Python.

SAMPLE = '''"""Words."""
from __future__ import annotations
import os.path as p, sys
from . import a as b

X: int = 0xFF_FF + 1_000_000_000_000_000_000_000
Y = (1e400, -0.0, 1j, b"\\x00\\xff", u"text", r"\\d", "\\N{GREEK SMALL LETTER PI}\\U0001fae8", ...)
Z = f"a{X!r:>{10}}b" "c" f"{X=}" f"{{}}" f"{X:}" f"""{
    X + 1}"""

async def f(a, /, b: int = 1, *args, c=None, **kw) -> None:
    """More words."""
    async with a as (x, y), b:
        pass
    match a:
        case {"k": [1, *rest], **others} if rest: return
        case str() | None: ...
    try: await b
    except (ValueError, TypeError) as error: raise error from None
    lambda *, k=1: (yield)
    [i async for i in a if (n := i)]

class C(dict, metaclass=type):
    """Words."""
    x = y[1:2, ::3][...]
    @property
    def only_words(self):
        """Nothing but words."""
'''


def other_pythons() -> list[str]:
    beside = sorted(Path(sys.base_prefix).parent.glob("3.1*/bin/python3"))
    named = [shutil.which(f"python3.{minor}") for minor in range(10, 16)]
    return sorted({*map(str, beside), *filter(None, named)})


def test_the_hash_does_not_depend_on_pythons_version(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE, encoding="utf-8")
    root = Path(__file__).parents[2]
    files = [sample, *sorted((root / "nlbench").rglob("*.py"))]
    script = (
        "import json, sys, pathlib\n"
        "from nlbench.plugins.source_code import _read\n"
        "files = json.load(sys.stdin)\n"
        "print(json.dumps([sys.version_info[:2], [_read(pathlib.Path(f)) for f in files]]))"
    )
    answers = {}
    for python in other_pythons():
        done = subprocess.run(
            [python, "-I", "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{script}"],
            input=json.dumps(list(map(str, files))),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode == 0:  # not a shim of a version that is not there
            minor, read = json.loads(done.stdout)
            answers[tuple(minor)] = [entry[0] for entry in read]
    if len(answers.keys() - {tuple(sys.version_info[:2])}) == 0:
        pytest.skip("no other Python is here")
    expected = [_read(file).sha256 for file in files]
    assert {minor for minor, hashes in answers.items() if hashes != expected} == set()


def test_long_numbers_and_odd_texts_are_hashed(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(f"X = 0x{'f' * 9000}\nY = '\U0001fae8'\n", encoding="utf-8")
    before = _read(path).sha256
    path.write_text(f"X = 0x{'f' * 8999}e\nY = '\U0001fae8'\n", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert _read(path).sha256 != before


# End to end: what was finished is not served for code that is different now.


def drop(*names: str) -> None:
    for name in names:
        sys.modules.pop(name, None)


def run(*words: object) -> tuple[bool, dict[str, float]]:
    """Return whether a run was finished before, and its metrics."""
    shown = CliRunner().invoke(app, ["run", *map(str, words)])
    assert shown.exit_code == 0, shown.output
    again = CliRunner().invoke(app, ["run", *map(str, words), "--json"])
    metrics = json.loads(again.stdout)["metrics"]
    numbers = {
        "auroc": metrics["selection"]["auroc"],
        "accuracy": metrics["test"]["accuracy_last"],
        "loss": json.loads(again.stdout)["curves"]["train_loss"][-1],
    }
    return "finished before" in shown.output, numbers


BY_HELPER = '''"""Keeps by the label's zero-shot probability, turned round by a helper."""
from dataclasses import dataclass
import my_helper
from nlbench import Selection, Selector
from nlbench.scoring import knn_probabilities
from nlbench.scoring.scores import of_label


@dataclass(frozen=True)
class ByHelper(Selector):
    def select(self, data):
        p = knn_probabilities(data.embeddings(), data.noisy_labels, data.n_classes, k=50)
        score = my_helper.SIGN * of_label(p, data.noisy_labels)
        return Selection(keep=score >= score.median(), score=score)
'''


def test_an_edited_helper_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, helper = tmp_path / "by_helper.py", tmp_path / "my_helper.py"
    plugin.write_text(BY_HELPER)
    helper.write_text("SIGN = 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("--plugin", plugin, "--selector", "by-helper", "--noise", "symmetric:0.4")
    words = (*words, "--epochs", 1)
    before, first = run(*words)
    assert not before
    assert first["auroc"] > 0.9
    assert run(*words) == (True, first)

    edit(helper, "SIGN = 1.0", "SIGN = 1.0  # words")
    assert run(*words) == (True, first)

    edit(helper, "SIGN = 1.0", "SIGN = -1.0")
    refused = CliRunner().invoke(app, ["run", *map(str, words)])
    assert refused.exit_code != 0
    assert "edited after the import. Start Python again." in " ".join(refused.output.split())
    drop("my_helper", *(name for name in list(sys.modules) if name.startswith("nlbench_plugin_")))
    before, second = run(*words)
    assert not before
    assert second["auroc"] < 0.1


def test_an_edited_trainer_of_a_package_is_run_again(install: Install) -> None:
    site = install("their-plugins", PACKAGE, POINTS)
    words = ("--selector", "none", "--noise", "none", "--trainer", "scaled", "--epochs", 1)
    before, first = run(*words)
    assert not before
    assert run(*words) == (True, first)
    edit(site / "their_plugins/factors.py", "1.0", "0.0")
    drop("their_plugins.trainer", "their_plugins.factors")
    before, second = run(*words)
    assert not before
    assert second["loss"] == 0.0
    assert first["loss"] > 0.1
    edit(site / "their_plugins/factors.py", "0.0", "1.0")
    drop("their_plugins.trainer", "their_plugins.factors")
    assert run(*words) == (True, first)


def test_a_component_that_keeps_no_version_is_told_by_its_owner() -> None:
    component = replace(find("selectors", "none"), keeps_version=False)
    assert str(version_of(component)).startswith("code:")
