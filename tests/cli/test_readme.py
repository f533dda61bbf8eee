"""What the README says can be typed and pasted, works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nlbench_selectors
from nlbench.conformance import check_selector
from nlbench.plugins import registry
from nlbench.results.store import RunStore

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (code,) = [block for block in PYTHON_BLOCKS if "(Selector)" in block]
    path = tmp_path / "two_opinions.py"
    path.write_text(code)
    return path


def test_the_example_selector_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 22


def test_the_example_selector_passes_every_check(example: Path) -> None:
    component = registry.add_plugin_file(example)
    assert component.name == "two-opinions"
    results = check_selector(component.load())
    assert [r.message for r in results if r.status != "passed"] == []


def test_the_example_in_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block for block in PYTHON_BLOCKS if "nlbench.corrupt" in block]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own text
    accuracy, f1 = map(float, capsys.readouterr().out.split())
    assert accuracy > 0.8
    assert f1 > 0.8
    (record,), damaged = RunStore().records()
    assert record.metrics is not None
    assert record.metrics.test.accuracy_last == accuracy
    assert damaged == []


def test_the_table_names_each_built_in_method_once() -> None:
    rows = re.findall(r"^\| [a-z, -]+ \|(.+)\|.+\|$", section("Methods"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"\[`([a-z0-9-]+)`\]", row)]
    trainers = registry.components("trainers").items()
    ours = [(name, each.load()) for name, each in trainers if each.owner.startswith("nlbench (")]
    losses = [name for name, trainer in ours if trainer.is_method]
    # Neither a file dropped in nor an installed plugin need be listed.
    assert sorted(listed) == sorted([*nlbench_selectors.VERSIONED, *losses])


def test_the_numbers_are_of_methods_that_exist() -> None:
    text = section("What it measures")
    named = set(re.findall(r"^\| \[`([a-z0-9-]+)`\]\(.*?\)(?: \(bound\))? \|", text, re.MULTILINE))
    assert len(named) >= 10
    assert named <= {*registry.selector_names(), *registry.components("trainers")}


def section(heading: str) -> str:
    """Return what stands between a heading and the next one of its level."""
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_link_to_a_file_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []
