"""Imports run one way; what must stay light imports nothing heavy. Read, not run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

# From the ground up: whatever stands in nlbench/ imports only what stands before it here.
FLOORS = (
    "errors",
    "seeds",
    "files",
    "machine",
    "surroundings",
    "checkpoints",
    "data",
    "scoring",
    "selector",
    "plugins",
    "noise",
    "results",
    "encoders",
    "training",
    "config",
    "tracking",
    "runner",
    "contribution",
    "conformance",
    "audit",
    "cli",
    "__main__",
)
LIGHT = (
    "cli",
    "config",
    "errors",
    "files",
    "plugins",
    "results.record",
    "results.store",
    "runner.delivery",
    "runner.on_ray.post",
    "runner.on_ray.task",
    "runner.worker",
)
LEADERBOARD_MAY_USE = {
    "nlbench.encoders.frozen_names",
    "nlbench.results.record",
    "nlbench.results.store",
    "nlbench.results.gallery",
    "nlbench.errors",
    "nlbench.files",
    "nlbench.files.copies",
    "nlbench.tracking",
    "nlbench.contribution",
}
SELECTORS_MAY_USE = re.compile(r"nlbench|nlbench\.scoring(\..+)?")
MLFLOW_MODULES = re.compile(r"nlbench\.(tracking(\..+|_\w+)?|mlflow_\w+)")


@dataclass(frozen=True)
class Import:
    """`importer` imports `module` on a line; `top_level` if that happens when it is imported."""

    importer: str
    module: str
    line: int
    top_level: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def package_root(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent


def module_name(file: Path, root: Path) -> str:
    parts = [root.name, *file.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def walk(node: ast.AST, top_level: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, top_level
        yield from walk(child, top_level and not lazy)


def base_of(node: ast.ImportFrom, importer: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    parents = parts[: len(parts) - node.level + is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def targets(node: ast.AST, importer: str, is_package: bool) -> list[str]:
    """Return the modules an import statement names; `from a import b` is a.b where that is one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = base_of(node, importer, is_package)
        return [
            f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base
            for alias in node.names
        ]
    if (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("import_module", "__import__"))
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ):
        return [str(node.args[0].value)]
    return []


def imports_of(source: str, importer: str, is_package: bool = False) -> list[Import]:
    return [
        Import(importer, target, getattr(node, "lineno", 0), top_level)
        for node, top_level in walk(ast.parse(source), top_level=True)
        for target in targets(node, importer, is_package)
    ]


def source_files(package: str) -> dict[str, Path]:
    root = package_root(package)
    return {module_name(f, root): f for f in sorted(root.rglob("*.py"))}


FILES = {p: source_files(p) for p in ("nlbench", "nlbench_selectors", "nlbench_leaderboard")}
MODULES = {name for files in FILES.values() for name in files}


@cache
def package_imports(package: str) -> list[Import]:
    return [
        found
        for name, file in FILES[package].items()
        for found in imports_of(file.read_text("utf-8"), name, file.stem == "__init__")
    ]


def within(module: str, *packages: str) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in packages)


def core(*names: str) -> tuple[str, ...]:
    return tuple(f"nlbench.{name}" for name in names)


def listed(found: list[Import]) -> str:
    return "\n".join(map(str, found))


# The reader itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "module", "top_level"),
    [
        ("import torch", "torch", True),
        ("from torch import nn", "torch", True),
        ("import torch.nn as nn", "torch.nn", True),
        ("from nlbench import runner", "nlbench.runner", True),
        ("from nlbench.errors import ConfigError", "nlbench.errors", True),
        ("from . import runner", "nlbench.runner", True),
        ("from .errors import ConfigError", "nlbench.errors", True),
        ("try:\n    import torch\nexcept ImportError: pass", "torch", True),
        ("class A:\n    import torch", "torch", True),
        ("def f():\n    import torch", "torch", False),
        ("class A:\n    def f(self):\n        import torch", "torch", False),
        ("importlib.import_module('torch')", "torch", True),
    ],
)
def test_reader_sees_every_way_to_import(source: str, module: str, top_level: bool) -> None:
    found = imports_of(source, "nlbench.example")
    assert [(f.module, f.top_level) for f in found] == [(module, top_level)]


def test_reader_passes_over_what_only_type_checkers_see() -> None:
    assert imports_of("if TYPE_CHECKING:\n    import torch", "nlbench.example") == []


@pytest.mark.parametrize("package", FILES)
def test_every_package_is_read(package: str) -> None:
    assert len(FILES[package]) >= 5
    assert len(package_imports(package)) > 20


# The rules ---------------------------------------------------------------------------------------


def test_core_knows_neither_selectors_nor_leaderboard() -> None:
    wrong = [
        found
        for found in package_imports("nlbench")
        if within(found.module, "nlbench_selectors", "nlbench_leaderboard")
    ]
    assert not wrong, listed(wrong)


def test_selectors_use_public_names_only() -> None:
    wrong = [
        found
        for found in package_imports("nlbench_selectors")
        if within(found.module, "nlbench", "nlbench_leaderboard")
        and not SELECTORS_MAY_USE.fullmatch(found.module)
    ]
    assert not wrong, listed(wrong)


def test_selectors_do_not_import_each_other() -> None:
    wrong = [
        found
        for found in package_imports("nlbench_selectors")
        if within(found.module, "nlbench_selectors")
    ]
    assert not wrong, listed(wrong)


def test_leaderboard_reads_results_and_nothing_else() -> None:
    wrong = [
        found
        for found in package_imports("nlbench_leaderboard")
        if within(found.module, "nlbench", "nlbench_selectors")
        and found.module not in LEADERBOARD_MAY_USE
    ]
    assert not wrong, listed(wrong)


def floor_of(module: str) -> str:
    """Return the room or file of the core that a module belongs to; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_its_floor() -> None:
    assert {floor_of(name) for name in FILES["nlbench"]} - {""} == set(FLOORS)


def test_imports_go_down_only() -> None:
    """No circles between rooms; `import nlbench` itself resolves its public names lazily."""
    wrong = [
        found
        for found in package_imports("nlbench")
        if within(found.module, "nlbench") and floor_of(found.importer) and floor_of(found.module)
        if floor_of(found.importer) != floor_of(found.module)
        if FLOORS.index(floor_of(found.importer)) < FLOORS.index(floor_of(found.module))
    ]
    assert not wrong, listed(wrong)


def test_mlflow_is_imported_by_tracking_modules_only() -> None:
    found = [i for p in FILES for i in package_imports(p) if within(i.module, "mlflow")]
    assert found, "nothing imports mlflow: this test looks in the wrong place"
    wrong = [i for i in found if not MLFLOW_MODULES.fullmatch(i.importer)]
    assert not wrong, listed(wrong)


def with_parents(module: str) -> list[str]:
    """Return a.b.c, a.b and a: importing the first runs them all."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def top_level_closure(start: str) -> dict[str, Import | None]:
    """Return all modules that importing `start` imports, each with the import that did it."""
    by_importer: dict[str, list[Import]] = {}
    for found in package_imports("nlbench"):
        if found.top_level:
            by_importer.setdefault(found.importer, []).append(found)
    reached: dict[str, Import | None] = dict.fromkeys(with_parents(start))
    queue = list(reached)
    while queue:
        for found in by_importer.get(queue.pop(), []):
            for module in with_parents(found.module):
                if module not in reached:
                    reached[module] = found
                    queue.append(module)
    return reached


@pytest.mark.parametrize("light", LIGHT)
def test_light_modules_do_not_load_torch_or_mlflow(light: str) -> None:
    """Neither by their own top-level imports nor by those of what they import."""
    members = [name for name in FILES["nlbench"] if within(name, *core(light))]
    assert members, f"nlbench.{light} is gone: name its successor in LIGHT"
    for member in members:
        for module, reason in top_level_closure(member).items():
            assert not within(module, "torch", "torchvision", "mlflow", "timm", "open_clip"), reason


def test_a_run_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    """Seconds of a single run are imports; these packages are installed and not needed for it."""
    code = (
        "import sys; from nlbench.cli import app\n"
        "app(['run', '--selector', 'none', '--epochs', '1'], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NLBENCH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.split())
    assert {"torch", "mlflow"} <= loaded, "nothing was run: the rest says nothing"
    not_needed = {"matplotlib", "torchvision", "timm", "open_clip", "transformers", "flask"}
    assert not loaded & not_needed
