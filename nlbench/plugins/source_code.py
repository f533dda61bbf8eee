"""The source of components that keep no version: which files count, and what of them.

What counts is the syntax tree without docstrings: an edited comment changes nothing. Of a package
every module counts; of a loose file the file; and of both what they import from files that were
not installed, such as a helper beside a loose file. What is imported from nlbench counts by the
versions that it keeps.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from nlbench.plugins.discovery import Component, module_path

_SCORING = "nlbench.scoring"
# Has versions of its own.
_FIRST_PARTY = ("nlbench", "nlbench_leaderboard")
_SELECTORS = "nlbench_selectors"
# Where installers put packages, whichever of several environments is on the path.
_SITES = {"site-packages", "dist-packages"}


def code_sha256(component: Component, versions: Mapping[str, object]) -> str:
    """Return the hash of a component's source, whatever folder it is in.

    Args:
        component: What keeps no version.
        versions: By module, of what comes with nlbench: where the source imports such a module, the
            version counts instead of the file.
    """
    files = _files_of(component, versions)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{_read(path).sha256}\0".encode())
    for module in sorted(_imported_by(files) & versions.keys()):
        digest.update(f"{module}\0{versions[module]}\0".encode())
    return digest.hexdigest()


def imports_scoring(component: Component, versions: Mapping[str, object]) -> bool:
    """Return whether a component's source uses the scoring toolbox."""
    modules = _imported_by(_files_of(component, versions))
    return any(module == _SCORING or module.startswith(f"{_SCORING}.") for module in modules)


def _imported_by(files: Mapping[str, Path]) -> set[str]:
    return {
        name for path in files.values() for level, name in _read(path).imports if name and not level
    }


def _files_of(component: Component, versions: Mapping[str, object]) -> dict[str, Path]:
    """Return the files that count by a name that does not depend on where they are."""
    if component.path is None:
        return {}
    path, module = component.path.resolve(), "" if component.is_loose else component.module
    package = None if component.is_loose or component.is_shipped else _package_of(component.path)
    files = {"": path}
    if package is not None:
        modules = sorted(file for file in package.rglob("*.py") if file.is_file())
        files = {file.relative_to(package).as_posix(): file.resolve() for file in modules}
    # Names of modules to follow imports from; a package's begin with the folders above it.
    above = module.split(".")[: -len(_parts(component.path, package))] if package else []
    waiting = [
        (file, ".".join([*above, *_parts(package / name, package)]) if package else module)
        for name, file in files.items()
    ]
    while waiting:
        importer, importing = waiting.pop()
        for name in _modules_of(importer, importing):
            imported = None if name in versions else _local_file(name, importer, module)
            if imported is not None and imported not in files.values():
                files[name] = imported
                waiting.append((imported, name))
    return files


def _package_of(path: Path) -> Path | None:
    """Return the outermost folder around a module that is a package."""
    folder = path.parent
    if not (folder / "__init__.py").is_file():
        return None
    while (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _parts(path: Path, package: Path | None) -> list[str]:
    """Return a module's name within a package, the package's own name first."""
    if package is None:
        return []
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return parts[:-1] if parts[-1] == "__init__" else parts


def _local_file(module: str, importer: Path, importing: str) -> Path | None:
    """Return the file of an imported module, None where it was installed or is nlbench's."""
    top = module.partition(".")[0]
    if top in _FIRST_PARTY:
        return None
    path = module_path(module)
    if path is None:
        beside = importer.parent.joinpath(*module.split("."))
        candidates = (beside.with_suffix(".py"), beside / "__init__.py")
        path = next((file for file in candidates if file.is_file()), None)
    is_own = top in (_SELECTORS, importing.partition(".")[0])
    if path is None or (_is_installed(path) and not is_own):
        return None
    return path.resolve()


@lru_cache(maxsize=1)
def _standard_library() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")})


def _is_installed(path: Path) -> bool:
    resolved = path.resolve()
    if resolved.suffix != ".py" or _SITES & {*path.parts, *resolved.parts}:
        return True
    return any(map(resolved.is_relative_to, _standard_library()))


def _modules_of(path: Path, importing: str) -> Iterator[str]:
    """Yield the modules that a file runs by its imports, and the packages that they are in."""
    for level, name in _read(path).imports:
        absolute = name
        if level:
            # A package's own name is what its `__init__` counts from.
            own = 1 if path.name == "__init__.py" else 0
            parents = [*importing.split("."), ""][: -level - 1 + own]
            absolute = ".".join([*parents, *([name] if name else [])])
        parts = absolute.split(".") if absolute else []
        yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


class _Source(NamedTuple):
    """A file's hash, and its imports as (level, name): `from a import b` may mean a or a.b."""

    sha256: str
    imports: tuple[tuple[int, str], ...]


def _read(path: Path) -> _Source:
    status = path.stat()
    return _read_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read_version(path: Path, mtime_ns: int, size: int) -> _Source:
    """Read a file once for each of its versions: a sweep asks for every cell."""
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # a template, or of another language: nothing imports it
        return _Source(hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest(), ())
    text = hashlib.sha256(_plain(tree).encode()).hexdigest()
    return _Source(text, tuple(dict.fromkeys(_imports(tree))))


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.level, base
            dot = "." if base else ""
            yield from ((node.level, f"{base}{dot}{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute):
            # `import nlbench` alone makes `nlbench.scoring.margin` reachable.
            name = ast.unparse(node) if node.attr == "scoring" else ""
            if name == _SCORING:
                yield 0, name


def _plain(value: Any) -> str:
    """Return a syntax tree as text without docstrings, the same on every version of Python.

    Not `ast.dump`: what it says of empty fields depends on the version.
    """
    if isinstance(value, ast.AST):
        fields = ((name, getattr(value, name, None)) for name in value._fields if name != "kind")
        inside = (
            f"{name}={_plain(_without_empty_texts(value, content))}"
            for name, content in fields
            if content is not None and content != []
        )
        return f"{type(value).__name__}({','.join(inside)})"
    if isinstance(value, list):
        return f"[{','.join(_plain(part) for part in value if not _is_docstring(part))}]"
    # Not `repr`: which characters it escapes depends on the version, and it refuses long integers.
    return f"{value:x}" if type(value) is int else ascii(value)


def _without_empty_texts(node: ast.AST, content: Any) -> Any:
    """Return an f-string's parts without empty texts, which Python 3.12 puts behind braces."""
    if not isinstance(node, ast.JoinedStr):
        return content
    return [p for p in content if not isinstance(p, ast.Constant) or p.value != ""]


def _is_docstring(node: Any) -> bool:
    """Return whether a statement is a text and nothing else: it does nothing when it is run."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)
