"""Where components come from: entry points, packages whose modules are scanned, loose files.

Listing reads files as text and imports nothing; a component is imported when it is loaded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from nlbench.errors import PluginError
from nlbench.plugins.entry_points import brought_by, forget_installed, installed, is_own
from nlbench.plugins.kinds import (
    KINDS,
    WHAT_MAKES_ONE,
    Defined,
    Kind,
    defined_in,
    docstring_of,
    kind_of_object,
    singular,
)
from nlbench.plugins.older_plugins import refuse_newer, what_moved

__all__ = [
    "KINDS",
    "Component",
    "Kind",
    "component_of_file",
    "discover",
    "module_path",
    "rediscover",
]

_LOOSE = "nlbench_plugin_"


@dataclass(frozen=True)
class Component:
    """One named component and where it comes from; nothing of it is imported yet.

    Attributes:
        attribute: The object's name in the module; empty if the module defines one component.
        path: The source file, None where it could not be found.
        owner: Who brings it, for messages.
        problem: Why it cannot be used, or empty.
        is_shipped: Whether it is in a package of nlbench's own distribution; so is a file that was
            dropped in.
        keeps_version: Whether its ``version`` stands for its code, since ``tests/golden`` guards
            it; the code of all others is hashed.
    """

    kind: Kind
    name: str
    module: str
    attribute: str
    path: Path | None
    owner: str
    summary: str = ""
    problem: str = ""
    is_shipped: bool = False
    keeps_version: bool = False

    @property
    def is_loose(self) -> bool:
        """Whether it is a file that `--plugin` named."""
        return self.module.startswith(_LOOSE)

    def load(self) -> Any:
        """Import the component.

        Raises:
            PluginError: if the import fails, with the traceback; or if the module does not
                define exactly one component, of this kind.
        """
        if self.problem:
            raise PluginError(f"{self.kind[:-1]} {self.name!r} ({self.owner}): {self.problem}")
        try:
            module = _import_watched(self)
        except PluginError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            moved = what_moved(error)
            raise PluginError(
                f"{self.kind[:-1]} {self.name!r} from {self.owner} cannot be imported.\n"
                + "".join(traceback.format_exception(error)[-6:]).rstrip()
                + (f"\n{moved}" if moved else "")
                + "\nFix the file, or uninstall the package that brings it."
            ) from error
        loaded = _attribute(self, module) if self.attribute else _only_component(self, module)
        refuse_newer(f"{self.kind[:-1]} {self.name!r} ({self.owner})", loaded)
        return loaded


def rediscover() -> None:
    """Read the installed packages again when a component is next asked for."""
    forget_installed()
    discover.cache_clear()


@cache
def discover(kind: Kind) -> dict[str, Component]:
    """Read a kind's entry points; a clash of names is kept as a problem of the later one."""
    components: dict[str, Component] = {}
    # The project's own come first, so that an outsider cannot take a built-in name.
    points = sorted(installed(f"nlbench.{kind}"), key=lambda p: not is_own(p))
    for point in points:
        for component in _from_entry_point(kind, point):
            owner = components.get(component.name)
            if owner is None:
                components[component.name] = component
            elif owner != component:
                message = (
                    f"the name is taken by {owner.owner}; {component.owner} needs another one."
                )
                clash = f"{component.name}@{brought_by(point)}"
                components[clash] = _broken(kind, clash, component.owner, message)
    return components


def component_of_file(path: Path) -> Component:
    """Return the component that a loose file defines, named after the file.

    Its kind is read from the file. Where the file names none, it counts as a selector, whose
    import says what is wrong with it.
    """
    # By path and content: an edited file is another module, also within one process.
    content = path.read_bytes() if path.is_file() else b""
    digest = hashlib.sha256(str(path).encode() + content).hexdigest()[:12]
    defined = defined_in(path)
    summary, problem = _summary(path)
    if not summary and len(defined) == 1:
        summary, problem = _summary(path, defined[0].name)
    if len(defined) > 1:
        problem = _one_only(path, defined)
    return Component(
        kind=defined[0].kind if defined else "selectors",
        name=_public_name(path.stem),
        module=f"{_LOOSE}{path.stem}_{digest}",
        attribute="",
        path=path,
        owner=str(path),
        summary=summary,
        problem=problem,
    )


def _public_name(stem: str) -> str:
    return stem.replace("_", "-")


def _broken(kind: Kind, name: str, owner: str, problem: str) -> Component:
    return Component(kind, name, "", "", None, owner, "", problem)


def _from_entry_point(kind: Kind, point: EntryPoint) -> list[Component]:
    owner, own = f"{brought_by(point)} ({point.value})", is_own(point)
    path = module_path(point.module)
    if path is None:
        return [_broken(kind, point.name, owner, f"module {point.module!r} is not installed")]
    if point.attr or path.name != "__init__.py":
        text = _summary(path, point.attr, point.module)
        return [Component(kind, point.name, point.module, point.attr, path, owner, *text, own, own)]
    scanned = []
    versioned = _versioned(path) if own else ()
    for file in sorted(path.parent.glob("*.py")):
        if file.name.startswith(("_", ".")) or not file.is_file():
            continue
        name, module = _public_name(file.stem), f"{point.module}.{file.stem}"
        text, keeps = _summary(file), name in versioned
        scanned.append(Component(kind, name, module, "", file, owner, *text, own, keeps))
    return scanned


def _versioned(package: Path) -> tuple[str, ...]:
    """Return the names in a scanned package's ``VERSIONED``, read as text.

    Any other file there was dropped in, and may be a copy with the version of its original.
    """
    for node in ast.parse(package.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERSIONED":
            names: tuple[str, ...] = ast.literal_eval(node.value)
            return names
    return ()


def module_path(module: str) -> Path | None:
    """Find a module's file without running any of its code."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and not rest else None
    for root in spec.submodule_search_locations:
        base = Path(root).joinpath(*rest)
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            # Unlike Path.is_file, False where a folder of Python's path must not be entered.
            if os.path.isfile(candidate):  # noqa: PTH113
                return candidate
    return None


def _summary(path: Path, attribute: str = "", module: str = "") -> tuple[str, str]:
    """Return the docstring's first line, read as text, and a problem if the file does not parse.

    An object without a docstring has that of its module.
    """
    doc = docstring_of(path, module, attribute) if attribute else ""
    if not doc:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError) as error:
            return "", f"{path}: {error}"
        doc = ast.get_docstring(tree) or ""
    return doc.split("\n", 1)[0].strip(), ""


def _import_watched(component: Component) -> ModuleType:
    """Import a module once, and put back what an outsider's changes of its surroundings."""
    if component.keeps_version or component.module in sys.modules:
        return _import(component)
    from nlbench.surroundings import kept

    with kept(f"the import of {component.owner}"):
        return _import(component)


def _import(component: Component) -> ModuleType:
    if not component.is_loose:
        return importlib.import_module(component.module)
    if component.module in sys.modules:
        return sys.modules[component.module]
    spec = importlib.util.spec_from_file_location(component.module, component.path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{component.path} cannot be loaded as Python source.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic look annotations up through sys.modules.
    sys.modules[component.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[component.module]
        raise
    return module


def _attribute(component: Component, module: ModuleType) -> Any:
    loaded = getattr(module, component.attribute, None)
    if loaded is None:
        raise PluginError(
            f"{component.kind[:-1]} {component.name!r} from {component.owner}: module "
            f"{component.module!r} has no {component.attribute!r}."
        )
    _check_dataclass(component, loaded)
    return loaded


def _only_component(component: Component, module: ModuleType) -> Any:
    own = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    kinds = {name: kind_of_object(value) for name, value in own.items()}
    defined = [Defined(kind, name) for name, kind in kinds.items() if kind is not None]
    if len(defined) != 1:
        raise PluginError(_one_only(component.path, defined))
    if defined[0].kind != component.kind:
        raise PluginError(
            f"{component.path} must define a {singular(component.kind)} here, got a "
            f"{singular(defined[0].kind)}, {defined[0].name}. Name its base class in the `class` "
            "statement, so that its kind can be read without an import."
        )
    loaded = own[defined[0].name]
    _check_dataclass(component, loaded)
    return loaded


def _one_only(path: Path | None, defined: Sequence[Defined]) -> str:
    names = ", ".join(f"{each.name} (a {singular(each.kind)})" for each in defined) or "none"
    return (
        f"{path} must define exactly one public component, got {names}. One component is "
        f"{WHAT_MAKES_ONE}. Start the names of helper classes and functions with an underscore."
    )


def _check_dataclass(component: Component, loaded: Any) -> None:
    if component.kind in ("noises", "encoders") or is_dataclass(loaded):
        return
    name = getattr(loaded, "__name__", repr(loaded))
    raise PluginError(
        f"{singular(component.kind)} {component.name!r} ({component.owner}): class {name} must be "
        "a dataclass: put `@dataclass(frozen=True)` above it."
    )
