"""Plugins of another contract: they run, or are told what changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import nlbench
from nlbench import PluginError
from nlbench.plugins import registry
from nlbench.plugins.older_plugins import _MOVED

# As an author wrote a trainer for contract 1: one network, a loss of a batch.
CONTRACT_1 = '''"""Half the loss."""
from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from nlbench.training.sgd import SgdTrainer


@dataclass(frozen=True)
class HalfLoss(SgdTrainer):
    """Half of cross-entropy."""

    share: float = 0.5

    def loss(self, network, batch, labels, draws):
        return self.share * cross_entropy(network(batch), labels)
'''


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugin_files", [])


def plugin(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_trainer_of_contract_1_runs(tmp_path: Path) -> None:
    file = plugin(tmp_path, "half_loss.py", CONTRACT_1)
    record = nlbench.run(
        "half-loss", noise="pair", noise_rate=0.3, epochs=1, plugins=[file], track=False,
        home=tmp_path / "home",
    )  # fmt: skip
    assert (record.method, record.status) == ("half-loss", "finished")
    with pytest.raises(nlbench.ConfigError, match="does not go with trainer 'half-loss'"):
        nlbench.run("co-teaching", trainer="half-loss", track=False, home=tmp_path / "home")


@pytest.mark.parametrize(("module", "name"), _MOVED)
def test_a_name_that_moved_is_told_from_where_it_is_now(
    module: str, name: str, tmp_path: Path
) -> None:
    text = (
        '"""An idea."""\n'
        "from dataclasses import dataclass\n"
        f"from {module} import {name}\n"
        "from nlbench import Selector\n\n\n"
        "@dataclass(frozen=True)\nclass Idea(Selector):\n"
        "    def select(self, data):\n        raise NotImplementedError\n"
    )
    component = registry.add_plugin_file(plugin(tmp_path, "idea.py", text))
    with pytest.raises(PluginError) as caught:
        component.load()
    assert f"{module}.{name} is {_MOVED[module, name]}" in str(caught.value)
    place, _, attribute = _MOVED[module, name].split(",")[0].rpartition(".")
    exec(f"from {place} import {attribute}")  # noqa: S102 - the place that the message names


def test_any_other_name_of_ours_is_said_to_be_no_public_one(tmp_path: Path) -> None:
    text = '"""An idea."""\nfrom nlbench.training.loop import no_such_name\n'
    text += "from nlbench import Selector\n\n\nclass Idea(Selector):\n    pass\n"
    component = registry.add_plugin_file(plugin(tmp_path, "idea.py", text))
    with pytest.raises(PluginError, match="plugin contract 2; only the names in nlbench"):
        component.load()


def test_a_plugin_for_a_newer_contract_asks_for_an_update(tmp_path: Path) -> None:
    text = CONTRACT_1.replace("    share", "    plugin_api = 3\n    share")
    component = registry.add_plugin_file(plugin(tmp_path, "half_loss.py", text))
    with pytest.raises(PluginError, match=r"needs plugin contract 3, this nlbench has 2"):
        component.load()
