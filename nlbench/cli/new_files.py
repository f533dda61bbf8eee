"""The files of a new component: templates filled in, and written all or none."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nlbench import __version__
from nlbench.errors import ConfigError, PluginError
from nlbench.files import write_atomic
from nlbench.plugins.kinds import Kind, singular
from nlbench.plugins.registry import components

_TEMPLATES = Path(__file__).parent / "templates"
_FILES: dict[Kind, str] = {
    "selectors": "selector",
    "trainers": "trainer",
    "noises": "noise",
    "datasets": "dataset",
    "encoders": "encoder",
}
OFFERED = tuple(_FILES)
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_RUN: dict[Kind, str] = {
    "selectors": "--selector @NAME@",
    "trainers": "--selector @NAME@",
    "noises": "--noise @NAME@:0.3",
    "datasets": "--dataset @NAME@ --set protocol.prompts=default",
    "encoders": "--selector clip-knn:encoder=@NAME@",
}


@dataclass(frozen=True)
class New:
    """A component that is about to be written.

    Attributes:
        kind: Its kind.
        name: As people type it, such as ``my-idea``.
        when: When a selector chooses: before training, after every epoch, in every mini-batch.
    """

    kind: Kind
    name: str
    when: Literal["once", "online", "batch"] = "once"

    @property
    def module(self) -> str:
        """The name of its file, without ``.py``."""
        return self.name.replace("-", "_")

    @property
    def distribution(self) -> str:
        """The name of its package on an index."""
        return f"nlbench-{self.name}"

    @property
    def run(self) -> str:
        """The command that runs it."""
        return f"nlbench run {_RUN[self.kind]}".replace("@NAME@", self.name)

    def words(self) -> dict[str, str]:
        """Return what the templates' words stand for."""
        is_function = self.kind == "noises"
        classes = "".join(part.capitalize() for part in self.name.split("-"))
        return {
            "NAME": self.name,
            "TITLE": self.name.replace("-", " ").capitalize(),
            "MODULE": self.module,
            "OBJECT": self.module if is_function else classes,
            "PACKAGE": self.distribution.replace("-", "_"),
            "DISTRIBUTION": self.distribution,
            "KIND": singular(self.kind),
            "KINDS": self.kind,
            "RUN": self.run,
            "VERSION": ".".join(__version__.split(".")[:2]),
        }


def refuse_name(new: New) -> None:
    """Refuse a name that cannot be a module's, or that somebody has.

    Raises:
        ConfigError: if it is not lower-case words with hyphens, or is Python's.
        PluginError: if it is taken.
    """
    name, what = new.name, f"the name of a {singular(new.kind)}"
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        hint = f" Try {near!r}." if _NAME.fullmatch(near) else ""
        raise ConfigError(
            f"{what} must be lower-case letters, digits and hyphens and begin with a letter, got "
            f"{name!r}.{hint}"
        )
    if keyword.iskeyword(new.module) or new.module in sys.stdlib_module_names:
        raise ConfigError(
            f"{what} must not be a word or module of Python, got {name!r}: a file {new.module}.py "
            "would hide it. Put a word before or behind it."
        )
    owner = components(new.kind).get(name)
    if owner is not None:
        raise PluginError(
            f"{what} must be free, {name!r} is taken by {owner.owner}. Choose another one."
        )


def write_file(new: New, folder: Path) -> Path:
    """Write the component as one loose file and return it.

    Raises:
        ConfigError: if the file is there already.
    """
    path = folder / f"{new.module}.py"
    _refuse_existing(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _component_text(new))
    return path


def write_package(new: New, folder: Path) -> Path:
    """Write the component as a package that pip installs, and return its folder.

    Raises:
        ConfigError: if the folder is there already, or another package has its name.
    """
    target, package = folder / new.distribution, new.words()["PACKAGE"]
    _refuse_existing(target)
    if importlib.util.find_spec(package) is not None:
        raise ConfigError(
            f"a package {package!r} is installed already. Choose another name than {new.name!r}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that one rename makes all of it appear.
    draft = Path(tempfile.mkdtemp(prefix=f".{new.distribution}-", dir=folder))
    try:
        for name, text in _package_files(new).items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


def _package_files(new: New) -> dict[str, str]:
    package = new.words()["PACKAGE"]
    templates = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        ".gitignore": "gitignore.txt",
        ".github/workflows/test.yml": "workflow.yml.txt",
        f"src/{package}/__init__.py": "init.py.txt",
        f"tests/test_{new.module}.py": "test.py.txt",
    }
    files = {name: _filled(template, new.words()) for name, template in templates.items()}
    return {**files, f"src/{package}/{new.module}.py": _component_text(new)}


def _component_text(new: New) -> str:
    own = _FILES[new.kind]
    template = own if new.when == "once" else f"{new.when}_{own}"
    return _filled(f"{template}.py.txt", new.words())


def _filled(template: str, words: Mapping[str, str]) -> str:
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise ConfigError(
            f"'{path}' is there already and is not overwritten. Choose another name, or another "
            "folder with --out."
        )
