"""``nlbench check``: which component, which checks, what is printed, and the exit code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import Result
from loose_components import write_all
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.plugins.registry import KINDS


def check(*words: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, words)])


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("trainers", "selectors")])
def test_a_loose_file_of_any_kind_is_checked(tmp_path: Path, kind: str) -> None:
    result = check(write_all(tmp_path)[kind])
    assert result.exit_code == 0, result.output
    assert re.search(rf"{kind[:-1]} my-\w+: (\d+) of \1 checks passed\.", result.stdout)


def test_a_failure_says_four_things_and_its_command_shows_it_again(tmp_path: Path) -> None:
    path = tmp_path / "my noise.py"
    path.write_text(
        "import numpy as np\n"
        "def noise(clean, n_classes, rate: float, rng):\n"
        "    return clean.astype(float), np.eye(n_classes)\n"
    )
    result = check(path)
    assert result.exit_code == 4
    failure = re.search(r"failed    labels\n(.*?)\n(?=\w)", result.stdout, re.DOTALL)
    assert failure is not None
    headings = re.findall(r"^ {10}(\w+(?: \w+)?)  ", failure[1], re.MULTILINE)
    assert headings == ["tried", "came out", "matters", "reproduce"]
    command = shlex.split(re.findall(r"reproduce +(nlbench .*)", failure[1])[0])
    again = CliRunner().invoke(app, command[1:])
    assert again.exit_code == 4
    assert "failed    labels" in again.stdout
    assert "0 of 1 checks passed, 1 failed." in again.stdout


@pytest.mark.parametrize("columns", ["80", "120"])
def test_no_line_is_wider_than_the_terminal(
    tmp_path: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(tmp_path)
    Path("shaky.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom nlbench import Selection, Selector\n"
        "@dataclass(frozen=True)\nclass Shaky(Selector):\n"
        "    def select(self, data):\n        score = torch.rand(data.n_samples)\n"
        "        return Selection(keep=score > 0.5, score=score)\n"
    )
    result = check("shaky.py", "--only", "same-seed-same-answer", "--only", "permuted samples")
    assert result.exit_code == 4
    assert "nlbench.scoring.seeded" in result.stdout
    assert "data.uniform" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= min(100, int(columns))


def test_json_has_every_result(tmp_path: Path) -> None:
    result = check("symmetric", "--json", "--only", "rate", "--only", "check_two_classes")
    first, second = json.loads(result.stdout)
    assert (first["kind"], first["component"]) == ("noise", "symmetric")
    assert (first["check"], first["status"]) == ("check_rate", "passed")
    assert second["check"] == "check_two_classes"
    assert second["reproduce"] == "nlbench check symmetric --only two-classes"
    assert {"tried", "message", "why", "seconds"} <= set(first)


def test_a_name_of_several_kinds_says_how_to_get_the_other() -> None:
    result = check("none", "--only", "two-classes")
    assert "selector none:" in result.stdout
    assert "--kind noise" in result.stderr
    assert "noise none:" in check("none", "--kind", "noise", "--only", "two-classes").stdout


def test_data_that_is_not_here_leaves_with_three_and_the_next_step() -> None:
    result = check("cifar10")
    assert result.exit_code == 3
    assert "--data-dir DIR" in result.stdout
    assert "dataset cifar10: cannot be checked here." in result.stdout
    assert "passed" not in result.stdout


def test_options_of_a_noise_and_a_folder_of_images(tmp_path: Path) -> None:
    assert check("asymmetric", "--set", "class_map={0: 1}").exit_code == 0
    result = check(f"folder:{tmp_path}")
    assert result.exit_code == 3
    assert str(tmp_path) in result.stdout.replace("\n" + " " * 21, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("clip-kn",), "Did you mean 'clip-knn'"),
        (("qqqqqq",), "nlbench list"),
        (("random", "--kind", "noises"), "unknown noise 'random'"),
        (("random", "--kind", "nose"), "Did you mean 'noise'"),
        (("random", "--only", "two-class"), "Did you mean 'check_two_classes'"),
        (("cross-entropy", "--set", "lr=1"), "for noises and data sets"),
        (("random", "--set", "keep_fraction=1"), "for noises and data sets"),
        (("pair", "--set", "rrate=1"), "no option 'rrate'"),
    ],
)
def test_a_mistake_is_answered(words: tuple[str, ...], message: str) -> None:
    result = check(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_a_file_of_another_kind_than_asked_for(tmp_path: Path) -> None:
    result = check(write_all(tmp_path)["noises"], "--kind", "selector")
    assert result.exit_code == 2
    assert "defines a noise, not a selector" in result.stderr
