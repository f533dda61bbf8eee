"""Settings behind a selector's name: one value in a run, several of them in a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nlbench.config.resolve import resolve
from nlbench.config.setting_text import inline_settings
from nlbench.config.sweep_plan import SweepPlan, load_plan, spanned
from nlbench.errors import ConfigError
from nlbench.plugins.registry import add_plugin_file

SPECS: dict[str, dict[str, list[str]]] = {
    "a": {},
    "a:": {},
    "a:k=5": {"k": ["5"]},
    "a:k=5,": {"k": ["5"]},
    "a:k=5,t=0.1": {"k": ["5"], "t": ["0.1"]},
    "a:k=5,10,20": {"k": ["5", "10", "20"]},
    "a:k=5,10,t=0.1,0.2": {"k": ["5", "10"], "t": ["0.1", "0.2"]},
    "a:k=5, 10, t = 0.1": {"k": ["5", "10"], "t": ["0.1"]},
    "a:k=[1,2]": {"k": ["[1,2]"]},
    "a:k=[1,2],[3,4],t=1": {"k": ["[1,2]", "[3,4]"], "t": ["1"]},
    "a:k={x: 1, y: [2, 3]},t=1": {"k": ["{x: 1, y: [2, 3]}"], "t": ["1"]},
    'a:w="b,c=d",e': {"w": ['"b,c=d"', "e"]},
    "a:w=it's,t=1": {"w": ["it's"], "t": ["1"]},
    "a:e=open_clip:ViT-B-32/openai,timm:x": {"e": ["open_clip:ViT-B-32/openai", "timm:x"]},
    "a:w=": {"w": [""]},
}


@pytest.mark.parametrize("spec", SPECS)
def test_settings_are_split_into_values(spec: str) -> None:
    assert inline_settings(spec) == SPECS[spec]


@pytest.mark.parametrize(
    ("spec", "message"),
    [("a:5", "must be key=value, got '5'"), ("a:k=1,k=2", "must be set once.*k=1,2")],
)
def test_settings_without_a_key_or_with_one_twice(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        inline_settings(spec)


def test_values_span_the_product() -> None:
    assert spanned(["none", "a:k=5,10,t=[1,2],3", "none", "a:k=5,t=3"]) == (
        "none", "a:k=5,t=[1,2]", "a:k=5,t=3", "a:k=10,t=[1,2]", "a:k=10,t=3",
    )  # fmt: skip


def shares(plan: SweepPlan) -> list[Any]:
    return [config.selector.params["keep_fraction"] for config in plan.configs()]


def test_a_sweep_has_a_cell_for_each_value() -> None:
    plan = SweepPlan(("random:keep_fraction=0.2,0.5,0.9",), noises=("pair:0.3",), seeds=(0, 1))
    assert shares(plan) == [0.2, 0.5, 0.9] * 2


def test_a_sweep_file_takes_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("selectors: ['random:keep_fraction=0.2,0.5']\nnoises: ['pair:0.3']\nseeds: 0\n")
    assert shares(load_plan(path)) == [0.2, 0.5]


def test_a_wrong_value_is_found_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"'keep_fraction'.*got 1\.5"):
        SweepPlan(("random:keep_fraction=0.5,1.5",), seeds=(0,)).configs()


def test_a_run_refuses_several_values_and_names_the_sweep() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(selector="random:keep_fraction=0.2,0.5")
    assert str(caught.value) == (
        "a run takes one value of 'keep_fraction', got 2 (0.2, 0.5). "
        "`nlbench sweep --selector 'random:keep_fraction=0.2,0.5'` makes a run for each."
    )


def test_a_list_is_one_value(tmp_path: Path) -> None:
    path = tmp_path / "lists.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom nlbench import Selector\n"
        "@dataclass(frozen=True)\nclass Lists(Selector):\n    sizes: tuple[int, ...] = (1,)\n"
        "    def select(self, data): ...\n"
    )
    add_plugin_file(path)
    assert resolve(selector="lists:sizes=[3,4]").selector.params["sizes"] == (3, 4)
