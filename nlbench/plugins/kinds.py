"""Which components a file defines, read as text: nothing of it is imported to list it.

A class is of the kind of the base that it derives from, followed through imports and aliases. A
function is a noise if its first parameters are those of a noise, and an encoder if it says that it
returns one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nlbench.errors import ConfigError, did_you_mean

Kind = Literal["selectors", "datasets", "noises", "trainers", "encoders"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NOISE_PARAMETERS = ("clean", "n_classes", "rate", "rng")
# By kind: the room of nlbench that defines its bases, and their names.
_BASES: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "selectors": (
        "selector", ("Selector", "OnlineSelector", "BatchSelector", "BoundSelector")
    ),
    "datasets": ("data", ("Dataset",)),
    "trainers": ("training", ("Trainer", "SgdTrainer", "LossTrainer")),
    "encoders": ("encoders", ("Encoder",)),
}  # fmt: skip
WHAT_MAKES_ONE = (
    "a subclass of nlbench.Selector, OnlineSelector, BatchSelector or BoundSelector, of "
    "nlbench.LossTrainer, nlbench.Dataset or nlbench.Encoder, a function that returns an "
    f"nlbench.Encoder, or a noise: a function of ({', '.join(NOISE_PARAMETERS)}, ...)"
)
_MOST_STEPS = 20  # from a class to its base, from an import to what it names


@dataclass(frozen=True)
class Defined:
    """A public class or function at the top of a file that is a component."""

    kind: Kind
    name: str


def kind_named(text: str) -> Kind:
    """Return a kind by its name, in the singular or the plural.

    Raises:
        ConfigError: if there is no such kind.

    >>> kind_named("noise"), kind_named("selectors")
    ('noises', 'selectors')
    """
    for kind in KINDS:
        if text in (kind, singular(kind)):
            return kind
    names = [singular(kind) for kind in KINDS]
    raise ConfigError(f"unknown kind {text!r}. {did_you_mean(text, names)}")


def singular(kind: str) -> str:
    """Return the name of one component of a kind.

    >>> singular("noises")
    'noise'
    """
    return kind[:-1]


def kind_of_base(module: str, name: str) -> Kind | None:
    """Return the kind that a class of this module and name is the base of."""
    for kind, (room, names) in _BASES.items():
        if name in names and (module == "nlbench" or _within(module, f"nlbench.{room}")):
            return kind
    return None


def kind_of_class(cls: type) -> Kind | None:
    """Return the kind of a class that is loaded; None where it is no component."""
    kinds = (kind_of_base(base.__module__, base.__name__) for base in cls.__mro__[1:])
    return next((kind for kind in kinds if kind), None)


def defined_in(path: Path) -> list[Defined]:
    """Return the components that a file defines, in its order; none where it does not parse."""
    file = _File.read(path, "")
    if file is None:
        return []
    found = []
    for name, node in file.definitions.items():
        kind = None if name.startswith("_") else file.kind_of(node)
        if kind is not None:
            found.append(Defined(kind, name))
    return found


def docstring_of(path: Path, module: str, name: str) -> str | None:
    """Return a class's or function's docstring, also where a package only passes it on.

    None where the file, or what it names, is not to be found.
    """
    file = _File.read(path, module)
    node = None if file is None else file.definition(name)
    return None if node is None else ast.get_docstring(node) or ""


_Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class _File:
    """A file's top-level classes and functions, and what its imports call what.

    Attributes:
        imports: By name in the file: the module, and the name in it ("" for the module itself).
    """

    path: Path
    definitions: dict[str, _Definition]
    imports: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, path: Path, module: str) -> _File | None:
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            return None
        definitions: dict[str, _Definition] = {}
        imports: dict[str, tuple[str, str]] = {}
        for node in _top_level(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                definitions[node.name] = node
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports.update(_names_of(node, path, module))
        return cls(path, definitions, imports)

    def kind_of(self, node: _Definition, steps: int = 0) -> Kind | None:
        if steps > _MOST_STEPS:
            return None
        if isinstance(node, ast.FunctionDef):
            return self._kind_of_function(node, steps)
        kinds = (self._kind_of_name(ast.unparse(base), steps + 1) for base in node.bases)
        return next((kind for kind in kinds if kind), None)

    def _kind_of_function(self, node: ast.FunctionDef, steps: int) -> Kind | None:
        names = tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args))
        if names[: len(NOISE_PARAMETERS)] == NOISE_PARAMETERS:
            return "noises"
        returned = node.returns
        if isinstance(returned, ast.Constant) and isinstance(returned.value, str):
            text = returned.value
        else:
            text = "" if returned is None else ast.unparse(returned)
        return "encoders" if self._kind_of_name(text, steps + 1) == "encoders" else None

    def _kind_of_name(self, text: str, steps: int) -> Kind | None:
        """Return the kind of a class by what it is called here: ``Selector``, ``nb.Selector``."""
        text = text.partition("[")[0]  # of a generic class
        if text in self.definitions:
            return self.kind_of(self.definitions[text], steps)
        module, name = self._origin(text)
        return _kind_in(module, name, self.path, steps) if name else None

    def _origin(self, text: str) -> tuple[str, str]:
        first, _, rest = text.partition(".")
        module, name = self.imports.get(first, ("", ""))
        if not rest:
            return module, name
        module = f"{module}.{name}" if name else module
        return _joined(module, rest.rpartition(".")[0]), rest.rpartition(".")[2]

    def definition(self, name: str, steps: int = 0) -> _Definition | None:
        if name in self.definitions:
            return self.definitions[name]
        module, inner = self.imports.get(name, ("", ""))
        path = _path_of(module, self.path) if inner and steps < _MOST_STEPS else None
        file = None if path is None else _File.read(path, module)
        return None if file is None else file.definition(inner, steps + 1)


def _kind_in(module: str, name: str, importer: Path, steps: int) -> Kind | None:
    """Return the kind of a class of another module, read as text."""
    kind = kind_of_base(module, name)
    path = None if kind or steps > _MOST_STEPS else _path_of(module, importer)
    file = None if path is None else _File.read(path, module)
    if file is None:
        return kind
    if name in file.definitions:
        return file.kind_of(file.definitions[name], steps + 1)
    inner = file.imports.get(name)
    return _kind_in(*inner, file.path, steps + 1) if inner else None


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a module, also those in its ``if`` and ``try``."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _top_level(child)


def _names_of(
    node: ast.Import | ast.ImportFrom, path: Path, module: str
) -> Iterator[tuple[str, tuple[str, str]]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, (alias.name if alias.asname else top, "")
        return
    base = node.module or ""
    if node.level:
        # A package's own name is what its `__init__` counts from.
        own = 1 if path.name == "__init__.py" else 0
        parents = [*module.split("."), ""][: -node.level - 1 + own]
        base = _joined(".".join(parents), base)
    for alias in node.names:
        yield alias.asname or alias.name, (base, alias.name)


def _joined(module: str, name: str) -> str:
    return ".".join(part for part in (module, name) if part)


def _path_of(module: str, importer: Path) -> Path | None:
    """Return a module's file without running it; of one beside a loose file too."""
    from nlbench.plugins.discovery import module_path

    if not module:
        return None
    path = module_path(module)
    if path is None:
        beside = importer.parent.joinpath(*module.split("."))
        candidates = (beside.with_suffix(".py"), beside / "__init__.py")
        path = next((file for file in candidates if file.is_file()), None)
    return path if path is not None and path.suffix == ".py" else None


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def kind_of_object(value: Any) -> Kind | None:
    """Return the kind of a loaded class or function; None where it is no component."""
    import inspect
    from typing import get_type_hints

    if isinstance(value, type):
        return kind_of_class(value)
    if not inspect.isfunction(value):
        return None
    names = tuple(inspect.signature(value).parameters)
    if names[: len(NOISE_PARAMETERS)] == NOISE_PARAMETERS:
        return "noises"
    try:
        returned = get_type_hints(value).get("return")
    except Exception:  # a name that only type checkers see
        return None
    if not isinstance(returned, type):
        return None
    kind = kind_of_base(returned.__module__, returned.__name__) or kind_of_class(returned)
    return "encoders" if kind == "encoders" else None
