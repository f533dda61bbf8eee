"""Components by name: listing, loading, and whom a broken plugin hurts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SELECTOR, Install

from nlbench.errors import ConfigError, PluginError
from nlbench.plugins import registry
from nlbench.plugins.registry import (
    KINDS,
    add_plugin_file,
    components,
    find,
    get_selector,
    make_selector,
    selector_class,
    selector_names,
)
from nlbench.plugins.versions import version_of
from nlbench.selector import TrainingData

PluginFile = Callable[..., Path]
DATA = TrainingData.from_arrays(noisy_labels=[0, 1, 1, 0], n_classes=2)


def test_listing_imports_nothing_heavy() -> None:
    script = (
        "import json, sys; from nlbench.plugins.registry import KINDS, components\n"
        "names = {kind: list(components(kind)) for kind in KINDS}\n"
        "summaries = [c.summary for kind in KINDS for c in components(kind).values()]\n"
        "print(json.dumps([names, summaries, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    names, summaries, modules = json.loads(done.stdout)
    heavy = {"torch", "numpy", "sklearn", "pydantic", "timm", "open_clip", "mlflow"}
    assert heavy & set(modules) == set()
    assert {"clipcleaner", "clip-knn", "oracle", "none"} <= set(names["selectors"])
    assert {"digits", "folder"} <= set(names["datasets"])
    assert all(summaries)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_comes_with_nlbench_can_be_loaded(kind: registry.Kind) -> None:
    for component in components(kind).values():
        assert component.problem == ""
        assert callable(component.load())
        assert component.keeps_version
        assert isinstance(version_of(component), int)


def test_the_file_name_is_the_selectors_name() -> None:
    component = find("selectors", "clip-knn")
    assert component.path is not None
    assert component.path.name == "clip_knn.py"
    assert component.summary.startswith("CLIP")


def test_a_loose_file_is_listed_loaded_and_run(plugin_file: PluginFile) -> None:
    component = add_plugin_file(plugin_file("keep_all.py", fields="top: int = 3"))
    assert component.name == "keep-all"
    assert components("selectors")["keep-all"].summary == "Keeps everything; for tests."
    assert "keep-all" in selector_names()
    selector = get_selector("keep-all", top=5)
    assert repr(selector) == "KeepAll(top=5)"
    assert selector.select(DATA).keep.tolist() == [True] * 4  # type: ignore[union-attr, call-arg]


def test_the_same_file_twice_is_one_plugin(plugin_file: PluginFile) -> None:
    path = plugin_file("keep_all.py")
    assert add_plugin_file(path) == add_plugin_file(path)
    assert selector_names().count("keep-all") == 1


@pytest.mark.parametrize("name", ["keep_all.txt", "nowhere.py", ""])
def test_a_plugin_that_is_no_python_file(plugin_file: PluginFile, name: str) -> None:
    path = plugin_file("keep_all.txt").parent / name
    with pytest.raises(ConfigError, match=r"is not an existing \.py file"):
        add_plugin_file(path)


def test_a_taken_name_is_refused_naming_both_owners(plugin_file: PluginFile) -> None:
    path = plugin_file("clip_knn.py")
    with pytest.raises(PluginError, match="'clip-knn' is taken") as caught:
        add_plugin_file(path)
    assert "nlbench_selectors" in str(caught.value)
    assert str(path) in str(caught.value)
    assert find("selectors", "clip-knn").path != path


def test_two_loose_files_of_one_name(plugin_file: PluginFile) -> None:
    first, second = plugin_file("twin.py", folder="a"), plugin_file("twin.py", folder="b")
    add_plugin_file(first)
    with pytest.raises(PluginError, match="taken") as caught:
        add_plugin_file(second)
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


BROKEN = {
    "syntax error": ("def f(:\n", "invalid syntax", True),
    "import error": ("import nonexistent_module_xyz\n", "nonexistent_module_xyz", False),
    "error on import": ("value = 1 / 0  # oops\n", "value = 1 / 0", False),
    "exit on import": ("import sys\nsys.exit(3)\n", "SystemExit: 3", False),
    "two classes": (
        SELECTOR + SELECTOR.replace("KeepAll", "Other"),
        r"got KeepAll \(a selector\), Other \(a",
        True,
    ),
    "no class": ("'''Nothing.'''\n", "exactly one public component, got none", False),
    "no dataclass": (
        SELECTOR.replace("@dataclass(frozen=True)\n", ""),
        "class KeepAll must be a dataclass",
        False,
    ),
    "not utf-8": ("# caf\xe9\n", "utf-8", True),
    "null byte": ("x = 1\0\n", "null", True),
}


@pytest.mark.parametrize(("source", "message", "seen"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_reported_by_name_and_hurts_no_other(
    plugin_file: PluginFile, source: str, message: str, seen: bool
) -> None:
    path = plugin_file("broken_one.py")
    path.write_bytes(source.replace("FIELDS", "").encode("latin-1"))
    add_plugin_file(path)
    add_plugin_file(plugin_file("keep_all.py"))
    assert bool(components("selectors")["broken-one"].problem) == seen
    with pytest.raises(PluginError, match=f"(?s){message}") as caught:
        get_selector("broken-one")
    assert str(path) in str(caught.value)
    assert get_selector("keep-all")
    assert get_selector("random")
    assert "keep-all" in selector_names()


def test_an_import_error_comes_with_the_traceback(plugin_file: PluginFile) -> None:
    path = plugin_file("broken_one.py")
    path.write_text("def helper():\n    return 1 / 0\n\n\nhelper()\n")
    add_plugin_file(path)
    with pytest.raises(PluginError) as caught:
        selector_class("broken-one")
    text = str(caught.value)
    assert f'{path}", line 5' in text
    assert f'{path}", line 2, in helper' in text
    assert "ZeroDivisionError: division by zero" in text
    assert "Fix the file" in text


def test_helper_and_imported_classes_do_not_count(plugin_file: PluginFile) -> None:
    path = plugin_file("helpers.py")
    extra = (
        "\n\nfrom nlbench_selectors.random import Random\n\n\nclass _Base(Selector):\n    pass\n"
    )
    path.write_text(SELECTOR.replace("FIELDS", "") + extra)
    add_plugin_file(path)
    assert selector_class("helpers").__name__ == "KeepAll"


def test_an_edited_plugin_is_another_selector(plugin_file: PluginFile) -> None:
    path = plugin_file("keep_all.py")
    before = version_of(add_plugin_file(path))
    assert version_of(find("selectors", "keep-all")) == before
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert version_of(find("selectors", "keep-all")) == before
    path.write_text(path.read_text() + "# explained\n")
    assert version_of(find("selectors", "keep-all")) == before
    path.write_text(path.read_text() + "EDITED = True\n")
    assert version_of(find("selectors", "keep-all")) != before


def test_code_and_hash_belong_together_after_an_edit(plugin_file: PluginFile) -> None:
    """In a notebook: run, edit the file, run again in the same process."""
    path = plugin_file("keep_all.py")
    add_plugin_file(path)
    before = version_of(find("selectors", "keep-all"))
    keep = get_selector("keep-all").select(DATA).keep  # type: ignore[union-attr, call-arg]
    assert keep.all()
    path.write_text(path.read_text().replace("keep = torch.ones_like", "keep = torch.zeros_like"))
    add_plugin_file(path)
    assert version_of(find("selectors", "keep-all")) != before
    keep = get_selector("keep-all").select(DATA).keep  # type: ignore[union-attr, call-arg]
    assert not keep.any()


def test_a_repaired_plugin_works_in_the_same_process(plugin_file: PluginFile) -> None:
    path = plugin_file("keep_all.py")
    good = path.read_text()
    path.write_text("def f(:\n")
    add_plugin_file(path)
    with pytest.raises(PluginError, match="invalid syntax"):
        get_selector("keep-all")
    path.write_text(good)
    add_plugin_file(path)
    assert get_selector("keep-all")


PLAIN = SELECTOR.replace("FIELDS", "")


def test_an_installed_class(install: Install) -> None:
    files = {"shiny_lib_a/__init__.py": "", "shiny_lib_a/impl.py": PLAIN}
    install("shiny-a", files, "[nlbench.selectors]\nshiny = shiny_lib_a.impl:KeepAll\n")
    component = find("selectors", "shiny")
    assert component.owner == "shiny-a (shiny_lib_a.impl:KeepAll)"
    assert component.summary == "Keep all."
    assert "shiny_lib_a" not in sys.modules
    assert get_selector("shiny").select(DATA).keep.all()  # type: ignore[union-attr, call-arg]


def test_an_installed_package_is_scanned_and_a_file_dropped_in_is_found(install: Install) -> None:
    files = {
        "shiny_lib_b/__init__.py": "",
        "shiny_lib_b/first_one.py": PLAIN,
        "shiny_lib_b/_helper.py": "raise RuntimeError",
        "shiny_lib_b/notes.txt": "",
    }
    site = install("shiny-b", files, "[nlbench.selectors]\nall = shiny_lib_b\n")
    builtin = set(selector_names()) - {"first-one"}
    assert set(selector_names()) == builtin | {"first-one"}
    (site / "shiny_lib_b" / "second_one.py").write_text(PLAIN)
    registry.rediscover()
    assert set(selector_names()) == builtin | {"first-one", "second-one"}
    assert get_selector("second-one").select(DATA).keep.all()  # type: ignore[union-attr, call-arg]
    assert find("selectors", "second-one").owner == "shiny-b (shiny_lib_b)"


def test_a_broken_file_in_a_scanned_package_hurts_no_other(install: Install) -> None:
    files = {
        "shiny_lib_c/__init__.py": "",
        "shiny_lib_c/fine.py": PLAIN,
        "shiny_lib_c/broken.py": "def f(:\n",
        "shiny_lib_c/late.py": "import nonexistent_module_xyz\n",
    }
    install("shiny-c", files, "[nlbench.selectors]\nall = shiny_lib_c\n")
    assert "broken" not in selector_names()
    assert "invalid syntax" in components("selectors")["broken"].problem
    for name in ("broken", "late"):
        with pytest.raises(PluginError, match=f"selector '{name}'.*shiny-c"):
            selector_class(name)
    assert get_selector("fine")


def test_an_editors_lock_file_in_a_scanned_package_is_passed_over(install: Install) -> None:
    files = {"shiny_lib_d/__init__.py": "", "shiny_lib_d/fine.py": PLAIN}
    site = install("shiny-d", files, "[nlbench.selectors]\nall = shiny_lib_d\n")
    (site / "shiny_lib_d" / ".#fine.py").symlink_to("somebody@host.123")
    (site / "shiny_lib_d" / "._fine.py").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    registry.rediscover()
    assert get_selector("fine")
    assert [n for n in components("selectors") if "#" in n or n.startswith(".")] == []


def test_two_packages_that_want_one_name(install: Install) -> None:
    entry = "[nlbench.selectors]\nshiny = {0}:KeepAll\n"
    install("shiny-e", {"shiny_lib_e.py": PLAIN}, entry.format("shiny_lib_e"))
    install("shiny-f", {"shiny_lib_f.py": PLAIN}, entry.format("shiny_lib_f"))
    listed = components("selectors")
    assert listed["shiny"].problem == ""
    (clash,) = [name for name in listed if name.startswith("shiny@")]
    assert "the name is taken" in listed[clash].problem
    assert "shiny-e" in listed[clash].problem
    assert "shiny-f" in listed[clash].problem
    assert clash not in selector_names()
    assert get_selector("shiny")


def test_nobody_takes_a_built_in_name(install: Install) -> None:
    entry = "[nlbench.selectors]\nclip-knn = shiny_lib_g:KeepAll\n"
    install("a-shiny-g", {"shiny_lib_g.py": PLAIN}, entry)
    assert selector_class("clip-knn").__module__ == "nlbench_selectors.clip_knn"
    assert "a-shiny-g" in components("selectors")["clip-knn@a-shiny-g"].problem


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nonexistent_lib_xyz:Thing", "'nonexistent_lib_xyz' is not installed"),
        ("shiny_lib_h.nowhere:Thing", "not installed"),
        ("shiny_lib_h:Thing", "has no 'Thing'"),
    ],
)
def test_an_entry_point_that_leads_nowhere(install: Install, value: str, message: str) -> None:
    install("shiny-h", {"shiny_lib_h.py": PLAIN}, f"[nlbench.selectors]\nlost = {value}\n")
    with pytest.raises(PluginError, match=message):
        selector_class("lost")
    assert get_selector("random")


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("selectors", "clip_knn", "'clip-knn'"),
        ("selectors", "CLIPCleanr", "'clipcleaner'"),
        ("noises", "symetric", "'symmetric'"),
        ("datasets", "digit", "'digits'"),
        ("trainers", "crossentropy", "'cross-entropy'"),
        ("encoders", "openclip", "'open_clip'"),
    ],
)
def test_near_matches(kind: registry.Kind, name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown {kind[:-1]} {name!r}.*Did you mean.*{near}"):
        find(kind, name)


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(ConfigError, match=r"Valid: .*'oracle'.*nlbench list selectors"):
        find("selectors", "qqqqqq")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep_fracton": 0.5}, "no hyper-parameter 'keep_fracton'. Did you mean 'keep_fraction'"),
        (
            {"keep_fraction": 1.5},
            "'keep_fraction': input should be less than or equal to 1, got 1.5",
        ),
        ({"keep_fraction": 0}, "greater than 0, got 0"),
        ({"keep_fraction": "half"}, "valid number.*got 'half'.*nlbench show selector random"),
        ({"keep_fraction": None}, "got None"),
    ],
)
def test_hyper_parameters_are_validated(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_selector("random", **given)


def test_a_selector_without_hyper_parameters_says_so() -> None:
    with pytest.raises(ConfigError, match=r"no hyper-parameter 'k'\. There are none"):
        get_selector("none", k=1)


def test_a_class_can_be_used_without_being_registered(plugin_file: PluginFile) -> None:
    add_plugin_file(plugin_file("keep_all.py", fields="top: int = 3"))
    cls = selector_class("keep-all")
    assert make_selector(cls, {"top": "7"}).top == 7  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="'KeepAll' has no hyper-parameter 'tip'"):
        make_selector(cls, {"tip": 7})
