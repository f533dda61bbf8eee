"""Prompt files: what the text side of a CLIP model is asked, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from nlbench.errors import ConfigError, did_you_mean
from nlbench.selector import PromptSet

_FOLDER = Path(__file__).parent / "prompts"


class PromptFile(BaseModel):
    """Templates and descriptions of a data set's classes.

    Attributes:
        class_names: K names in the data set's order; empty where the file fits any data set.
        templates: Sentences with one ``{}`` for the class name.
        suffix: Ends a description's prompt, e.g. ", a type of animal.".
        descriptions: Class name -> visual descriptions (CLIPCleaner's prompts).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = ""
    class_names: list[str] = []
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

    Raises:
        ConfigError: if it is missing, not YAML, or names a class twice.
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else _FOLDER / f"{name}.yaml"
    if not path.is_file():
        shipped = [p.stem for p in _FOLDER.glob("*.yaml")]
        raise ConfigError(
            f"prompt file {name!r} is not there. {did_you_mean(name, shipped)} "
            "Or give the path of a .yaml file."
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506
        prompts = PromptFile.model_validate(content)
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt file '{path}' cannot be used: {error}") from None
    for template in prompts.templates:
        if template.count("{}") != 1 or any(c in template.replace("{}", "") for c in "{}"):
            raise ConfigError(
                f"prompt file '{path}': a template must hold one {{}}, "
                f"got {template!r}. Other braces are not allowed."
            )
    if not prompts.templates:
        raise ConfigError(f"prompt file '{path}' must hold `templates`, at least one.")
    return prompts


def prompt_texts(
    file: PromptFile, class_names: Sequence[str], prompts: PromptSet | Sequence[Sequence[str]]
) -> list[list[str]]:
    """Give K lists of texts.

    Raises:
        ConfigError: if the file's classes are not the data set's, or a class has no description.
    """
    if not isinstance(prompts, str):
        return [list(texts) for texts in prompts]
    if file.class_names and list(file.class_names) != list(class_names):
        raise ConfigError(
            f"the prompt file's classes {file.class_names[:4]}... are not the data set's "
            f"{list(class_names)[:4]}... in this order. Correct `class_names` in the file."
        )
    if prompts == "auto":
        prompts = "descriptions" if file.descriptions else "templates"
    if prompts == "templates":
        readable = [name.replace("_", " ") for name in class_names]
        return [[t.replace("{}", name) for t in file.templates] for name in readable]
    missing = [name for name in class_names if not file.descriptions.get(name)]
    unknown = sorted(set(file.descriptions) - set(class_names))
    if missing or unknown:
        raise ConfigError(
            f"descriptions are missing for {missing[:5]} and given for unknown classes "
            f"{unknown[:5]}. Complete the prompt file, or use --set selector.prompts=templates."
        )
    return [
        [f"a photo of a {name} {text}{file.suffix}" for text in file.descriptions[name]]
        for name in class_names
    ]
