"""From recipe, flags and --set to one configuration; its fingerprint; and back to a command."""

from __future__ import annotations

import math
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Install
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from nlbench.config.command import reproduce_command
from nlbench.config.recipe_files import load_recipe, recipe_names, recipe_summary
from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig
from nlbench.config.setting_text import parse_setting
from nlbench.errors import ConfigError, DataError
from nlbench.plugins.registry import add_plugin_file

PluginFile = Callable[..., Path]


def write_recipe(tmp_path: Path, text: str, name: str = "mine.yaml") -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def make_images(root: Path, per_class: int = 5) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            Image.new("RGB", (8, 8), (i, ord(name[0]), 0)).save(root / name / f"{i}.png")
    return root


def test_the_default_is_the_standard_recipe() -> None:
    config = resolve()
    assert config.dataset.name == "digits"
    assert config.selector.name == "clipcleaner"
    assert (config.noise.kind, config.noise.rate) == ("symmetric", 0.4)
    assert config.trainer.params["epochs"] == 30
    assert config.protocol.image_size == 8
    assert config.seed == 0


def test_precedence(tmp_path: Path) -> None:
    text = (
        "trainer: {epochs: 11, lr: 0.11}\nselector: {name: random, keep_fraction: 0.11}\n"
        "noise: {kind: pair, rate: 0.11}\n"
    )
    recipe = write_recipe(tmp_path, text)
    from_recipe = resolve(recipe=recipe)
    assert from_recipe.trainer.params["epochs"] == 11
    assert from_recipe.trainer.params["batch_size"] == 64
    assert from_recipe.selector.params == {"keep_fraction": 0.11}
    assert (from_recipe.noise.kind, from_recipe.noise.rate) == ("pair", 0.11)
    flags: dict[str, Any] = {"recipe": recipe, "epochs": 12, "noise_rate": 0.12}
    flags |= {"selector": "random:keep_fraction=0.12"}
    from_flags = resolve(**flags)
    assert from_flags.trainer.params["epochs"] == 12
    assert from_flags.trainer.params["lr"] == 0.11
    assert from_flags.selector.params == {"keep_fraction": 0.12}
    assert (from_flags.noise.kind, from_flags.noise.rate) == ("pair", 0.12)
    from_set = resolve(**flags, settings={"trainer.epochs": 13, "keep_fraction": 0.13})
    assert from_set.trainer.params["epochs"] == 13
    assert from_set.selector.params == {"keep_fraction": 0.13}


def test_another_selector_does_not_inherit_the_recipes_settings(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "selector: {name: random, keep_fraction: 0.11}\n")
    assert resolve(recipe=recipe, selector="none").selector.params == {}


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    assert resolve(recipe="quick/digits").trainer.params["epochs"] == 5
    assert resolve(recipe="quick/digits").trainer.params["lr"] == 0.05
    recipe = write_recipe(tmp_path, "extends: quick/digits\ntrainer: {lr: 0.2}\n")
    config = resolve(recipe=recipe)
    assert (config.trainer.params["epochs"], config.trainer.params["lr"]) == (5, 0.2)


def test_every_shipped_recipe_says_what_it_is() -> None:
    assert {"standard/digits", "standard/folder", "quick/digits"} <= set(recipe_names())
    for name in recipe_names():
        assert recipe_summary(name) == load_recipe(name)["summary"]
        assert load_recipe(name)["summary"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainr: {epochs: 3}\n", "'trainr'. Did you mean 'trainer'"),
        ("seed: 3\n", "'seed'"),
        ("on: 3\n", "True|'on'"),
        ("1: 3\n", "1"),
        ("trainer: {epochs: [3\n", "not valid YAML"),
        ("trainer: {a: !!python/object:os.system {}}\n", "not valid YAML"),
        ("- a\n- b\n", "key: value pairs"),
        ("", "key: value pairs"),
        ("trainer: fast\n", "trainer"),
        ("trainer: [1, 2]\n", "trainer"),
        ("dataset: 5\n", "dataset|5"),
        ("extends: nowhere/digits\n", "unknown recipe 'nowhere/digits'"),
        ("extends: 5\n", "extends|5"),
        ("trainer: {epoch: 3}\n", "'epoch'. Did you mean 'epochs'"),
        ("trainer: {epochs: many}\n", "'epochs'.*got 'many'"),
        ("protocol: {image_sise: 3}\n", "image_sise"),
        ("noise: {rat: 0.3}\n", "rat"),
        ("noise: {rate: much}\n", "rate"),
        ("noise: {rate: 1.5}\n", r"\[0, 1\), got 1\.5"),
        ("noise: {kind: symetric}\n", "Did you mean 'symmetric'"),
        ("selector: {name: clipcleanr}\n", "Did you mean 'clipcleaner'"),
        ("data: {pth: x}\n", "'pth'"),
    ],
)
def test_a_recipe_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(recipe=write_recipe(tmp_path, text))


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"extends: '{recipe}'\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        resolve(recipe=str(recipe))


def test_a_recipe_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("summary: Kätzchen".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml"):
        resolve(recipe=str(tmp_path / "latin.yaml"))


@pytest.mark.parametrize("name", ["standard/digit", "nowhere.yaml"])
def test_a_missing_recipe(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown recipe '{name}'.*path of a .yaml file"):
        resolve(recipe=name)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("trainer.lr=5e-4", "trainer.lr", 5e-4),
        ("lr=1e3", "lr", 1000.0),
        ("a=.5", "a", 0.5),
        ("a=3", "a", 3),
        ("a=true", "a", True),
        ("a=null", "a", None),
        ("a=[1, 2]", "a", [1, 2]),
        ("a={1: 7}", "a", {1: 7}),
        ("a=b=c", "a", "b=c"),
        (" a =text", "a", "text"),
        ("a='5e-4'", "a", "5e-4"),
    ],
)
def test_settings_are_read_as_yaml(text: str, key: str, value: object) -> None:
    assert parse_setting(text) == (key, value)
    assert type(parse_setting(text)[1]) is type(value)


@pytest.mark.parametrize("text", ["lr", "=3", " =3", "", "a=[1", "a={"])
def test_settings_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"key=value|not valid YAML"):
        parse_setting(text)


def test_5e_4_is_a_number_in_a_recipe_too(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "trainer: {weight_decay: 5e-4}\nnoise: {rate: 2e-1}\n")
    config = resolve(recipe=recipe)
    assert config.trainer.params["weight_decay"] == 5e-4
    assert config.noise.rate == 0.2


def test_the_section_may_be_left_out() -> None:
    config = resolve(settings={"lr": 0.3, "image_size": 16, "temperature": 0.02})
    assert config.trainer.params["lr"] == 0.3
    assert config.protocol.image_size == 16
    assert config.selector.params["temperature"] == 0.02


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("epoch", "epochs"),
        ("trainer.epoch", "epochs"),
        ("traner.epochs", "epochs"),
        ("selector.temprature", "temperature"),
        ("protocol.image_encodr", "image_encoder"),
        ("selektor.temperature", "temperature"),
    ],
)
def test_a_mistyped_setting(key: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(settings={key: 1})
    text = str(caught.value)
    assert f"unknown setting {key!r}" in text
    assert re.search(rf"Did you mean [^?]*\b{near}'", text)


@pytest.mark.parametrize("key", ["noise.rate", "seed", "selector.name", "qqqqqq.zzzzzz", ""])
def test_a_setting_that_is_none_lists_those_that_are(key: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.epochs"):
        resolve(settings={key: 1})


def test_an_ambiguous_setting_names_its_homes(plugin_file: PluginFile) -> None:
    add_plugin_file(plugin_file("mine.py", fields="lr: float = 1.0"))
    with pytest.raises(
        ConfigError, match=r"'lr' is ambiguous: write 'selector.lr' or 'trainer.lr'"
    ):
        resolve(selector="mine", settings={"lr": 0.5})
    config = resolve(selector="mine", settings={"selector.lr": 0.5})
    assert (config.selector.params["lr"], config.trainer.params["lr"]) == (0.5, 0.05)


def test_inline_settings() -> None:
    config = resolve(selector="small-loss:divider=rate,warmup_epochs=3", noise="pair:0.2")
    assert config.selector.params["divider"] == "rate"
    assert config.selector.params["warmup_epochs"] == 3
    assert config.selector_variant == {"divider": "rate", "warmup_epochs": 3}
    assert (config.noise.kind, config.noise.rate) == ("pair", 0.2)
    with pytest.raises(ConfigError, match="Did you mean 'divider'"):
        resolve(selector="small-loss:dividr=rate")
    with pytest.raises(ConfigError, match="must be key=value, got 'divider'"):
        resolve(selector="small-loss:divider")
    with pytest.raises(ConfigError, match="the noise rate must be a number, got 'lots'"):
        resolve(noise="pair:lots")


def test_a_noise_rate_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"given twice.*--noise-rate 0\.2.*Leave one"):
        resolve(noise="pair:0.4", noise_rate=0.2)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 40.0, math.nan, math.inf])
def test_a_noise_rate_out_of_range(rate: float) -> None:
    for given_as in ({"noise_rate": rate}, {"noise": f"pair:{rate}"}):
        with pytest.raises(ConfigError, match=r"must lie in \[0, 1\)"):
            resolve(**given_as)  # type: ignore[arg-type]


def test_no_noise_takes_no_rate() -> None:
    assert resolve(noise="none").noise.rate is None
    for given_as in ({"noise": "none:0.2"}, {"noise": "none", "noise_rate": 0.2}):
        with pytest.raises(ConfigError, match=r"'none' takes no rate, got 0\.2"):
            resolve(**given_as)  # type: ignore[arg-type]


def test_no_noise_is_one_run_however_it_is_asked_for() -> None:
    expected = resolve(noise="none").fingerprint
    assert resolve(noise="none", noise_rate=0.0).fingerprint == expected
    assert resolve(noise="none:0").fingerprint == expected


def test_a_kind_that_needs_a_rate_says_so(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "noise: {kind: pair}\n")
    with pytest.raises(ConfigError, match="'pair' needs a rate"):
        resolve(recipe=recipe)
    assert resolve(recipe=recipe, noise_rate=0.1).noise.rate == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selector": "clipcleanr"}, "Did you mean 'clipcleaner'"),
        ({"dataset": "digit"}, "Did you mean 'digits'"),
        ({"noise": "symetric"}, "Did you mean 'symmetric'"),
        ({"trainer": "cross-entrpy"}, "Did you mean 'cross-entropy'"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"epochs": 0}, "'epochs'"),
        ({"settings": {"val_fraction": 1.0}}, "val_fraction"),
        ({"settings": {"augmentation": "mixup"}}, "'augmentation'"),
        ({"dataset": "digits:somewhere"}, "digits.*path"),
    ],
)
def test_values_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(**changes)


@pytest.mark.parametrize("text", ["nan", "inf", ".nan", ".inf"])
def test_a_setting_that_is_not_finite_is_refused(plugin_file: PluginFile, text: str) -> None:
    add_plugin_file(plugin_file("mine.py", fields="tau: float = 1.0"))
    for key in ("trainer.lr", "selector.tau"):
        with pytest.raises(ConfigError, match=key.split(".")[1]):
            _ = resolve(
                selector="mine", settings=dict([parse_setting(f"{key}={text}")])
            ).fingerprint


def test_equal_settings_have_one_fingerprint(tmp_path: Path) -> None:
    expected = resolve().fingerprint
    assert re.fullmatch(r"[0-9a-f]{64}", expected)
    assert resolve(selector="clipcleaner", dataset="digits", noise="symmetric:0.4").fingerprint == (
        expected
    )
    assert resolve(epochs=30, seed=0, trainer="cross-entropy").fingerprint == expected
    assert resolve(recipe="standard/digits").fingerprint == expected
    one = resolve(settings={"lr": 0.1, "epochs": 3, "temperature": 1}).fingerprint
    other = resolve(settings={"temperature": 1.0, "trainer.epochs": 3, "trainer.lr": 0.1})
    assert other.fingerprint == one
    recipe = write_recipe(tmp_path, "trainer: {lr: 0.1, epochs: 3}\n")
    assert resolve(recipe=recipe, settings={"temperature": 1}).fingerprint == one


def test_a_configuration_read_back_has_the_same_fingerprint() -> None:
    config = resolve(noise="asymmetric:0.3", settings={"class_map": {1: 7, 7: 1}})
    again = RunConfig.model_validate(config.model_dump(mode="json"))
    assert again.fingerprint == config.fingerprint


CHANGES: list[dict[str, Any]] = [
    {"seed": 1},
    {"noise": "pair:0.4"},
    {"noise": "none"},
    {"noise_rate": 0.41},
    {"selector": "none"},
    {"epochs": 29},
    *({"settings": {f"trainer.{key}": value}} for key, value in [
        ("batch_size", 32), ("lr", 0.051), ("momentum", 0.8), ("weight_decay", 0.001),
        ("network", "timm:resnet18"), ("augmentation", "none"),
        ("input_size", 7),
    ]),
    {"settings": {"trainer.augmentation": "crop-flip"}},
    {"settings": {"trainer.augmentation": "crop-flip", "trainer.resized_crop": True}},
    *({"settings": {f"protocol.{key}": value}} for key, value in [
        ("val_fraction", 0.2), ("image_size", 16), ("image_text_encoder", "x"),
        ("image_encoder", "y"), ("prompts", "default"), ("equal_keep", 0.5),
    ]),
    *({"settings": {f"selector.{key}": value}} for key, value in [
        ("temperature", 0.01), ("theta_gmm", 0.6), ("theta_cons", 0.7), ("probe_c", 2.0),
        ("prompts", "templates"), ("encoder", "image"), ("faithful", True),
        ("zero_shot_loss", False), ("zero_shot_consistency", False),
        ("probe_loss", False), ("probe_consistency", False),
    ]),
]  # fmt: skip


def test_every_setting_counts_in_the_fingerprint() -> None:
    configs = [resolve(), *(resolve(**change) for change in CHANGES)]
    assert len({config.fingerprint for config in configs}) == len(CHANGES) + 1


def test_every_setting_of_the_defaults_is_among_those_tested() -> None:
    config = resolve()
    sections = {
        "trainer": config.trainer.params,
        "protocol": config.protocol.model_dump(),
        "selector": config.selector.params,
    }
    keys = {f"{section}.{key}" for section, values in sections.items() for key in values}
    assert keys - {k for c in CHANGES for k in c.get("settings", {})} == {"trainer.epochs"}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_protocol_is_what_all_selectors_share(change: dict[str, Any]) -> None:
    key = next(iter(change.get("settings", change)))
    # A learning rate or a loss is the method's, and stands in its row.
    own = {f"trainer.{name}" for name in ("lr", "momentum", "weight_decay")}
    shared = key == "epochs" or (key.startswith(("trainer.", "protocol.")) and key not in own)
    pattern = r"v1-[0-9a-f]{6}" if shared else r"v1"
    pattern = r"v1-keep0\.5" if key == "protocol.equal_keep" else pattern
    assert re.fullmatch(pattern, resolve(**change).protocol_id)


def test_without_an_equal_share_the_fingerprint_is_that_of_a_time_before_it() -> None:
    assert "equal_keep" not in resolve().canonical()["protocol"]
    assert "equal_keep" not in resolve().protocol_settings


def test_the_name_of_an_equal_share_says_what_else_differs() -> None:
    share = {"protocol.equal_keep": 0.25}
    assert resolve(settings=share).protocol_id == "v1-keep0.25"
    assert re.fullmatch(r"v1-keep0\.25-[0-9a-f]{6}", resolve(settings=share, epochs=3).protocol_id)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, "half"])
def test_an_equal_share_must_be_a_share(share: Any) -> None:
    with pytest.raises(ConfigError, match="equal_keep"):
        resolve(settings={"protocol.equal_keep": share})


def test_protocols_that_differ_have_different_names() -> None:
    names = {resolve(epochs=n).protocol_id for n in (5, 6, 7, 30)}
    assert len(names) == 4
    assert "v1" in names


def test_an_edited_plugin_is_another_run(plugin_file: PluginFile) -> None:
    path = plugin_file("mine.py")
    add_plugin_file(path)
    before = resolve(selector="mine").fingerprint
    assert resolve(selector="mine").fingerprint == before
    path.write_text(path.read_text() + "# explained\n")
    assert resolve(selector="mine").fingerprint == before
    path.write_text(path.read_text() + "EDITED = True\n")
    assert resolve(selector="mine").fingerprint != before


def test_a_folder_counts_by_content_not_by_place(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pets")
    before = resolve(dataset=f"folder:{root}")
    assert before.protocol_id == "v1"
    moved = tmp_path / "elsewhere" / "animals"
    shutil.move(root, moved)
    assert resolve(dataset=f"folder:{moved}").fingerprint == before.fingerprint
    relative = resolve(dataset="folder:animals", data_dir=moved.parent)
    assert relative.fingerprint == before.fingerprint
    split = resolve(dataset=f"folder:{moved}", settings={"split_seed": 1})
    assert split.fingerprint != before.fingerprint
    Image.new("RGB", (8, 8)).save(moved / "cat" / "new.png")
    assert resolve(dataset=f"folder:{moved}").fingerprint != before.fingerprint


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        resolve(dataset="folder:nowhere", data_dir=tmp_path)
    with pytest.raises(DataError, match="needs a path"):
        resolve(dataset="folder")


def test_an_edited_label_file_is_another_run(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("0\n1\n")
    settings = {"noise.labels": str(file)}
    before = resolve(noise="labels", settings=settings).fingerprint
    file.write_text("1\n1\n")
    assert resolve(noise="labels", settings=settings).fingerprint != before


def test_an_edited_prompt_file_is_another_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("templates: ['a {}.']\n")
    settings = {"protocol.prompts": str(file)}
    before = resolve(settings=settings).fingerprint
    file.write_text("templates: ['the {}.']\n")
    assert resolve(settings=settings).fingerprint != before


def replay(command: str, **extra: Any) -> RunConfig:
    """Read the flags of a command line as the command line tool does."""
    program, run, *words = shlex.split(command)
    assert (program, run) == ("nlbench", "run")
    flags: dict[str, Any] = {"settings": {}}
    types = {"noise_rate": float, "seed": int}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        if name == "set":
            flags["settings"].update([parse_setting(value)])
        elif name != "plugin":
            flags[name] = types.get(name, str)(value)
    return resolve(**flags, **extra)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_command_repeats_the_run(change: dict[str, Any]) -> None:
    config = resolve(**change)
    assert replay(reproduce_command(config)).fingerprint == config.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "quick/digits", "selector": "small-loss:divider=rate", "noise": "pair:0.2"},
        {"noise": "asymmetric:0.3", "settings": {"class_map": {1: 7, 7: 1}}},
        {"noise": "asymmetric:0.3", "settings": {"class_map": "digits"}},
        {"noise": "matrix", "settings": {"matrix": [[0.9, 0.1], [0.2, 0.8]]}},
        {"noise": "labels", "settings": {"noise.labels": "my labels.npy"}},
        {"selector": "small-loss", "settings": {"noise_rate": 0.3}},
    ],
    ids=str,
)
def test_the_command_repeats_runs_with_options(change: dict[str, Any]) -> None:
    config = resolve(**change)
    assert replay(reproduce_command(config)).fingerprint == config.fingerprint


def test_the_command_of_a_standard_run_is_short() -> None:
    assert reproduce_command(resolve(selector="random", seed=3)) == (
        "nlbench run --selector random --dataset digits --noise symmetric --noise-rate 0.4 --seed 3"
    )
    assert "--plugin 'my file.py'" in reproduce_command(resolve(), plugins=["my file.py"])


def test_the_command_repeats_a_run_on_a_folder(tmp_path: Path) -> None:
    root = make_images(tmp_path / "my pets")
    config = resolve(dataset=f"folder:{root}", settings={"split_seed": 4, "image_size": 16})
    command = reproduce_command(config)
    assert "path=" not in command
    assert replay(command).fingerprint == config.fingerprint


@hypothesis_settings(deadline=None, max_examples=60)
@example(rate=1 / 3, lr=0.05, seed=0)
@given(rate=st.floats(0, 0.999), lr=st.floats(1e-12, 1e6), seed=st.integers(0, 2**40))
def test_the_command_repeats_every_number(rate: float, lr: float, seed: int) -> None:
    config = resolve(noise="pair", noise_rate=rate, seed=seed, settings={"lr": lr})
    assert replay(reproduce_command(config)).fingerprint == config.fingerprint


@hypothesis_settings(deadline=None, max_examples=60)
@example(text="")
@example(text="5")
@example(text="1e3")
@example(text="null")
@example(text="my: prompts #2.yaml")
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12))
def test_the_command_repeats_every_text(text: str) -> None:
    config = resolve(settings={"protocol.image_encoder": text})
    assert replay(reproduce_command(config)).fingerprint == config.fingerprint


def test_the_command_repeats_a_run_with_another_trainer(install: Install) -> None:
    source = '''"""Slow."""
from dataclasses import dataclass
from nlbench.training.task import Trainer


@dataclass(frozen=True)
class Slow(Trainer):
    """Slow."""

    epochs: int = 300
    lr: float = 0.1

    def train(self, task):
        raise NotImplementedError
'''
    install("slow-t", {"slow_t.py": source}, "[nlbench.trainers]\nslow = slow_t:Slow\n")
    # The steps are the board's, the learning rate the method's.
    assert resolve(trainer="slow").trainer.params == {"epochs": 30, "lr": 0.1}
    config = resolve(trainer="slow", epochs=300)  # what it has by default
    assert replay(reproduce_command(config)).fingerprint == config.fingerprint
