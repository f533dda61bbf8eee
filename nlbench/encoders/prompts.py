"""Prompts: what the text side of a CLIP model is asked, class by class.

They come from a file, one per data set, or from open_clip's own lists of templates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict

from nlbench.errors import ConfigError, did_you_mean
from nlbench.files import canonical_json, parse_yaml, read_file

if TYPE_CHECKING:
    from nlbench.selector import PromptSet

_FOLDER = Path(__file__).parent / "prompts"
_SCHEME = "open_clip:"
_MOST_BYTES = 4 * 2**20


class PromptFile(BaseModel):
    """Templates and descriptions of a data set's classes.

    Attributes:
        class_names: K names, in any order, since each class has its prompts by name; empty where
            the file fits any data set.
        prompt_names: Class name -> how prompts call it, for names that a text encoder cannot place
            or places wrongly: ``kite`` -> ``kite (bird of prey)``.
        templates: Sentences with one ``{}`` for the class name.
        suffix: Ends a description's prompt, e.g. ", a type of animal.".
        descriptions: Class name -> visual descriptions (CLIPCleaner's prompts).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = ""
    class_names: list[str] = []
    prompt_names: dict[str, str] = {}
    templates: list[str]
    suffix: str = "."
    descriptions: dict[str, list[str]] = {}


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word; a class given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(k) for k in keys if keys.count(k) > 1})
        if twice:
            raise yaml.YAMLError(f"given twice: {', '.join(twice)}")
        return super().construct_mapping(node, deep=deep)


def load_prompts(name: str) -> PromptFile:
    """Read a prompt file by the name of a shipped one or by path.

    ``open_clip:openai`` and ``open_clip:simple`` are the 80 and the 7 templates that open_clip
    itself uses for ImageNet; they fit any data set and have no descriptions.

    Raises:
        ConfigError: if it is missing, not YAML, or names a class twice.
    """
    if name.startswith(_SCHEME):
        return _open_clip_templates(name)
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else _FOLDER / f"{name}.yaml"
    if not path.is_file():
        shipped = sorted(p.stem for p in _FOLDER.glob("*.yaml"))
        raise ConfigError(
            f"prompt file {name!r} does not exist. {did_you_mean(name, shipped)} "
            "Or give the path of a .yaml file."
        )
    try:
        content = parse_yaml(read_file(path, _MOST_BYTES).decode(), _UniqueKeys)
        prompts = PromptFile.model_validate(content)
    except (OSError, ValueError) as error:
        raise ConfigError(f"prompt file '{path}' cannot be used: {error}") from None
    for template in prompts.templates:
        if template.count("{}") != 1 or any(c in template.replace("{}", "") for c in "{}"):
            raise ConfigError(
                f"prompt file '{path}': a template must contain one {{}}, "
                f"got {template!r}. Other braces are not allowed."
            )
    strangers = sorted(set(prompts.prompt_names) - set(prompts.class_names))
    if strangers and prompts.class_names:
        raise ConfigError(
            f"prompt file '{path}': `prompt_names` must be of its class names, "
            f"got {strangers[:5]}. {did_you_mean(strangers[0], prompts.class_names)[:200]}"
        )
    if not prompts.templates:
        raise ConfigError(f"prompt file '{path}' must contain `templates`, at least one.")
    return prompts


def prompts_sha256(name: str) -> str | None:
    """Return the hash of what a shipped prompt file says, None for a path or open_clip's lists.

    The content, not the text of the file: its comments do not count.
    """
    if name.startswith(_SCHEME) or name.endswith((".yaml", ".yml")):
        return None
    path = _FOLDER / f"{name}.yaml"
    return _content_sha256(name, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=32)
def _content_sha256(name: str, mtime_ns: int) -> str:
    """Read a file once for each of its versions: a sweep asks for every cell."""
    content = canonical_json(load_prompts(name).model_dump(exclude_defaults=True))
    return hashlib.sha256(content.encode()).hexdigest()


def _open_clip_templates(name: str) -> PromptFile:
    import open_clip

    lists = {
        f"{_SCHEME}openai": open_clip.OPENAI_IMAGENET_TEMPLATES,
        f"{_SCHEME}simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
    }
    if name not in lists:
        raise ConfigError(
            f"open_clip has no templates {name.removeprefix(_SCHEME)!r}. "
            f"{did_you_mean(name, lists)}"
        )
    # open_clip keeps functions; given the place holder itself, each gives its template.
    return PromptFile(templates=[template("{}") for template in lists[name]])


def prompt_texts(
    file: PromptFile, class_names: Sequence[str], prompts: PromptSet | Sequence[Sequence[str]]
) -> list[list[str]]:
    """Return K lists of texts.

    Raises:
        ConfigError: if the file's classes are not the data set's, or a class has no description.
    """
    if not isinstance(prompts, str):
        return [list(texts) for texts in prompts]
    names = [_readable(name) for name in class_names]
    own_names = {_readable(name) for name in file.class_names}
    if own_names and own_names != set(names):
        raise ConfigError(
            "the prompt file's classes are not the data set's: "
            f"only the file has {sorted(own_names - set(names))[:4]}, "
            f"only the data set {sorted(set(names) - own_names)[:4]}. "
            "Correct `class_names` in the file, or use --set protocol.prompts=default."
        )
    if prompts == "auto":
        prompts = "descriptions" if file.descriptions else "templates"
    in_prompts = {_readable(name): text for name, text in file.prompt_names.items()}
    if prompts == "templates":
        return [
            [t.replace("{}", in_prompts.get(name, name)) for t in file.templates] for name in names
        ]
    described = {_readable(name): texts for name, texts in file.descriptions.items()}
    missing = [name for name in names if not described.get(name)]
    unknown = sorted(set(described) - set(names))
    if missing or unknown:
        raise ConfigError(
            f"descriptions are missing for {missing[:5]} and given for unknown classes "
            f"{unknown[:5]}. Complete the prompt file, or use --set selector.prompts=templates."
        )
    return [
        [
            f"a photo of a {in_prompts.get(name, name)} {text}{file.suffix}"
            for text in described[name]
        ]
        for name in names
    ]


def _readable(name: str) -> str:
    """Return a class name as words: data sets write ``maple_tree``, text encoders read text."""
    return name.replace("_", " ")
