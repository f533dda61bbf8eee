"""The source of components that keep no version: which files count, and what of them.

What counts is the syntax tree without docstrings: an edited comment changes nothing. Of a package
every module counts; of a loose file the file, and what it imports from files that were not
installed, such as a helper beside it.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from nlbench.plugins.discovery import Component, module_path

# Of any environment: the user's own, or one that this one was stacked on.
_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_SCORING = "nlbench.scoring"
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# Have versions of their own.
_FIRST_PARTY = ("nlbench", "nlbench_leaderboard")


def code_sha256(component: Component) -> str:
    """Return the hash of a component's source, whatever folder it is in."""
    digest = hashlib.sha256()
    for name, path in sorted(_files_of(component).items()):
        digest.update(f"{name}\0{_tree_sha256(path)}\0".encode())
    return digest.hexdigest()


def imports_scoring(component: Component) -> bool:
    """Return whether a component's source imports the scoring toolbox."""
    return any(
        module == _SCORING or module.startswith(f"{_SCORING}.")
        for path in _files_of(component).values()
        for module in _imports_of(path, "")
    )


def _files_of(component: Component) -> dict[str, Path]:
    """Return the files that count by a name that does not depend on where they are."""
    if component.path is None:
        return {}
    module = "" if component.is_loose else component.module
    package = module_path(module.partition(".")[0]) if module else None
    if package is not None and package.name == "__init__.py" and not component.is_shipped:
        root = package.parent
        return {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    files = {"": component.path.resolve()}
    _follow(component.path, module, files)
    return files


def _follow(path: Path, module: str, files: dict[str, Path]) -> None:
    """Add what a file imports from files that were not installed, and what those import."""
    for name in _imports_of(path, module):
        imported = _local_file(name, path, module.partition(".")[0])
        if imported is not None and imported not in files.values():
            files[name] = imported
            _follow(imported, name, files)


def _local_file(module: str, importer: Path, package: str) -> Path | None:
    top = module.partition(".")[0]
    if top in _FIRST_PARTY:
        return None
    path = module_path(module)
    if path is None:
        beside = importer.parent.joinpath(*module.split("."))
        candidates = (beside.with_suffix(".py"), beside / "__init__.py")
        path = next((file for file in candidates if file.is_file()), None)
    if path is None or (top != package and _is_installed(path)):
        return None
    return path.resolve()


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(paths[name]).resolve() for name in names})


def _is_installed(path: Path) -> bool:
    resolved = path.resolve()
    if resolved.suffix != ".py" or not _PACKAGE_FOLDERS.isdisjoint(resolved.parts):
        return True
    return any(map(resolved.is_relative_to, _installed_folders()))


def _imports_of(path: Path, module: str) -> Iterator[str]:
    """Yield the modules that a file may import: ``from a import b`` may mean ``a`` or ``a.b``."""
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, *([base] if base else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _parse(path: Path) -> ast.Module:
    return _parse_version(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=512)
def _parse_version(path: Path, mtime_ns: int, size: int) -> ast.Module:
    """Parse a file once for each of its versions: a sweep asks for every cell."""
    return ast.parse(path.read_bytes())


def _tree_sha256(path: Path) -> str:
    return hashlib.sha256(_plain(_parse(path)).encode()).hexdigest()


def _plain(value: Any) -> str:
    """Return a syntax tree as text without docstrings, the same on every version of Python.

    Not `ast.dump`: what it says of empty fields depends on the version.
    """
    if isinstance(value, ast.AST):
        fields = ((name, getattr(value, name, None)) for name in value._fields)
        inside = (
            f"{name}={_plain(_without_docstring(value, name, content))}"
            for name, content in fields
            if content is not None and content != []
        )
        return f"{type(value).__name__}({','.join(inside)})"
    if isinstance(value, list):
        return f"[{','.join(map(_plain, value))}]"
    return repr(value)


def _without_docstring(node: ast.AST, name: str, content: Any) -> Any:
    if name == "body" and isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False):
        return content[1:]
    return content
