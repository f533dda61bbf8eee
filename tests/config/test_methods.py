"""Methods as pairs of a selector and a trainer: their names, boards and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nlbench.config.command import reproduce_command
from nlbench.config.methods import SHARED_SETTINGS, split_method
from nlbench.config.resolve import resolve
from nlbench.config.sweep_plan import SweepPlan, usable_methods
from nlbench.errors import ConfigError, PluginError
from nlbench.plugins import registry


@pytest.mark.parametrize(
    ("asked", "selector", "trainer", "method"),
    [
        ({"selector": "clip-knn"}, "clip-knn", "cross-entropy", "clip-knn"),
        ({"selector": "none"}, "none", "cross-entropy", "none"),
        ({"selector": "elr"}, "none", "elr", "elr"),
        ({"selector": "none", "trainer": "elr"}, "none", "elr", "elr"),
        ({"selector": "clip-knn+elr"}, "clip-knn", "elr", "clip-knn+elr"),
        ({"selector": "clip-knn", "trainer": "elr"}, "clip-knn", "elr", "clip-knn+elr"),
        ({"selector": "jocor"}, "jocor", "jocor", "jocor"),
        (
            {"selector": "co-teaching", "trainer": "cross-entropy"},
            "co-teaching", "cross-entropy", "co-teaching",
        ),
        (
            {"selector": "cores2", "trainer": "cross-entropy"},
            "cores2", "cross-entropy", "cores2+cross-entropy",
        ),
        ({"trainer": "mixup"}, "clipcleaner", "mixup", "clipcleaner+mixup"),
    ],
)  # fmt: skip
def test_a_pair_has_a_name_and_its_command_gives_it_back(
    asked: dict[str, str], selector: str, trainer: str, method: str
) -> None:
    config = resolve(**asked)  # type: ignore[arg-type]
    assert (config.selector.name, config.trainer.name, config.method) == (selector, trainer, method)
    again = resolve(selector=config.method)
    assert (again.selector, again.trainer) == (config.selector, config.trainer)
    assert f"--selector {method}" in reproduce_command(config)


def test_all_methods_share_steps_network_and_augmentation() -> None:
    plan = SweepPlan(noises=("symmetric:0.4",), seeds=(0,))
    configs = plan.configs()
    assert {config.method for config in configs} == set(usable_methods())
    assert {config.protocol_id for config in configs} == {"v1"}
    assert len({config.protocol_sha256 for config in configs}) == 1
    shared = [[config.trainer.params[key] for key in SHARED_SETTINGS] for config in configs]
    assert all(settings == shared[0] for settings in shared)


def test_losses_are_methods_of_a_sweep_and_plain_training_is_none() -> None:
    methods = usable_methods()
    assert {"elr", "sop", "gce", "jocor", "co-teaching"} <= set(methods)
    assert "cross-entropy" not in methods
    assert len(methods) == len(set(methods))


def test_a_setting_goes_where_it_belongs() -> None:
    config = resolve(selector="elr:beta=0.9,strength=7")
    assert config.trainer.params["beta"] == 0.9
    assert config.trainer_variant == {"beta": 0.9, "strength": 7.0}
    assert config.selector_variant == {}
    pair = resolve(selector="clip-knn+elr:k=5,beta=0.9")
    assert (pair.selector.params["k"], pair.trainer.params["beta"]) == (5, 0.9)
    spanned = SweepPlan(("elr:beta=0.5,0.9",), noises=("pair:0.3",), seeds=(0,)).configs()
    assert [config.trainer.params["beta"] for config in spanned] == [0.5, 0.9]


def test_an_own_learning_rate_is_the_methods_and_its_steps_are_the_recipes() -> None:
    mixfix, standard = resolve(trainer="mixfix"), resolve()
    assert mixfix.trainer.params["lr"] == 0.02  # its own class says so
    assert mixfix.trainer.params["epochs"] == standard.trainer.params["epochs"]
    assert mixfix.protocol_sha256 == standard.protocol_sha256
    assert mixfix.trainer_variant == {}
    other = resolve(trainer="mixfix", settings={"trainer.lr": 0.1})
    assert (other.trainer_variant, other.protocol_id) == ({"lr": 0.1}, "v1")
    assert resolve(settings={"trainer.network": "preact-resnet18"}).protocol_id != "v1"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"selector": "elrr"}, "Did you mean 'elr'"),
        ({"selector": "clip-knn+elrr"}, "unknown trainer 'elrr'"),
        ({"selector": "clip-kn+elr"}, "unknown selector 'clip-kn'"),
        ({"selector": "elr", "trainer": "gce"}, "the trainer is given twice"),
        ({"selector": "co-teaching", "trainer": "mixup"}, "does not go with trainer 'mixup'"),
        ({"selector": "aum", "trainer": "mixfix"}, "margin history"),
        ({"selector": "dividemix", "trainer": "jocor"}, "samples of its own"),
        ({"selector": "co-teaching", "settings": {"equal_keep": 0.5}}, "chooses inside mini-batch"),
        ({"selector": "elr:beta=0.5,0.9"}, "nlbench sweep --selector"),
        ({"selector": "elr:nothing=1"}, "'nothing'"),
    ],
)
def test_what_cannot_work_is_refused_before_it_runs(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(**asked)
    assert message in str(caught.value)


def test_a_loose_trainer_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugin_files", [])
    file = tmp_path / "half_loss.py"
    file.write_text(
        '"""Half of it."""\n'
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from torch.nn.functional import cross_entropy\n"
        "from nlbench import LossTrainer\n\n\n"
        "@dataclass(frozen=True)\n"
        "class HalfLoss(LossTrainer):\n"
        "    is_method: ClassVar[bool] = True\n"
        "    share: float = 0.5\n\n"
        "    def batch_loss(self, batch, outputs, labels, state):\n"
        "        loss = cross_entropy(outputs[0], labels, reduction='none')\n"
        "        return self.share * loss[None]\n"
    )
    registry.add_plugin_file(file)
    assert split_method("half-loss") == ("none", "half-loss")
    config = resolve(selector="half-loss:share=0.25")
    assert (config.method, config.trainer.params["share"]) == ("half-loss", 0.25)
    assert config.versions["trainer"].startswith("code:")  # type: ignore[union-attr]
    assert "half-loss" in usable_methods()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("observes = ('feature',)", r"`observes` of selector 'wrong'.*Did you mean 'features'\?"),
        ("trainer = 'mixupp'", r"`trainer` of selector 'wrong'.*Did you mean 'mixup'\?"),
        ("rounds = 0", r"`rounds` of selector 'wrong' must be a whole number of at least 1, got 0"),
    ],
)
def test_a_selector_that_declares_what_there_is_not_is_refused_before_it_runs(
    declared: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_plugin_files", [])
    file = tmp_path / "wrong.py"
    file.write_text(
        '"""Wrong."""\n'
        "from dataclasses import dataclass\n"
        "from nlbench import OnlineSelector, Selection\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Wrong(OnlineSelector):\n"
        f"    {declared}\n\n"
        "    def select(self, data, dynamics):\n"
        "        return Selection(keep=dynamics.losses < 1, score=-dynamics.losses)\n"
    )
    registry.add_plugin_file(file)
    with pytest.raises(PluginError, match=message):
        resolve(selector="wrong")


def test_a_sweep_of_a_recipe_stays_on_its_board(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: quick/digits\nnoise: {kind: pair, rate: 0.3}\n")
    axes = {"selectors": ("none",), "seeds": (0,)}

    def boards(**more: Any) -> list[tuple[str, str, float | None]]:
        cells = SweepPlan(**axes, **more).configs()  # type: ignore[arg-type]
        return [(cell.dataset.name, cell.noise.kind, cell.noise.rate) for cell in cells]

    assert boards(recipe=str(recipe)) == [("digits", "pair", 0.3)]
    assert boards(recipe=str(recipe), noises=("none", "symmetric:0.2")) == [
        ("digits", "none", None),
        ("digits", "symmetric", 0.2),
    ]
    assert boards() == [("digits", "symmetric", 0.4), ("digits", "asymmetric", 0.4)]
