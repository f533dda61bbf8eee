"""YAML that is no configuration: each file is one message, and none takes time or memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.config.setting_text import parse_setting
from nlbench.config.sweep_plan import parse_seeds
from nlbench.errors import ConfigError
from nlbench.files import parse_yaml, require_bounded

LAUGHS = "trainer:\n  a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  {new}: &{new} [{', '.join(f'*{old}' for _ in range(10))}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "nested deeply": b"trainer: " + b"[" * 5000 + b"]" * 5000,
    "nested a little too deeply": b"trainer: " + b"[" * 90 + b"]" * 90,
    "5000 digits": b"trainer:\n  epochs: " + b"9" * 5000,
    "65 bits": b"trainer:\n  epochs: 18446744073709551616",
    "merged into itself": b"trainer: &self\n  <<: *self\n  epochs: no-number",
    "a list in itself": b"trainer: &self\n  epochs: [*self]",
    "a billion laughs": LAUGHS.encode(),
    "thirteenth month": b"trainer:\n  epochs: 2020-13-45",
    "not UTF-8": b"\xff\xfe\x00",
    "an object": b"trainer: !!python/object/apply:os.system ['true']",
    "a list as a key": b"? [a]\n: b",
    "not a mapping": b"[1, 2]",
    "nothing": b"",
    "NaN": b"trainer: {epochs: .nan}",
    "binary that is not base64": b"trainer: !!binary '='",
    "a number as a key": b"trainer: {1: 2}",
    "a list as a name": b"trainer: {name: [sgd]}",
    "a mapping as a kind": b"noise: {kind: {a: b}}",
    "a file name of zeros": b'noise: {kind: labels, labels: "a\\0b"}',
    "a file name of 500 letters": b"noise: {kind: labels, labels: " + b"x" * 500 + b"}",
    "a directory": None,
    "a pipe": None,
}


def written(folder: Path, kind: str) -> Path:
    path = folder / "hostile.yaml"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    else:
        path.write_bytes(HOSTILE[kind] or b"")
    return path


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("command", [["run", "--recipe"], ["sweep"]])
def test_a_hostile_recipe_is_one_message(
    kind: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "nothing" and command[0] == "run":
        command = ["run", "--selector", "no-such-selector", "--recipe"]
    monkeypatch.setenv("NLBENCH_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, [*command, str(written(tmp_path, kind))])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == (3 if "file name" in kind and command[0] == "run" else 2)
    assert "Error: " in result.stderr
    assert len(result.stderr) < 3000


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 200 + "]" * 200, "2020-13-45", "[*a]"])
def test_a_hostile_setting_is_refused_by_its_key(value: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.lr"):
        parse_setting(f"trainer.lr={value}")


@pytest.mark.parametrize("seeds", ["0-99999999999", "9" * 5000, "0-" + "9" * 5000])
def test_endless_seeds_are_refused(seeds: str) -> None:
    with pytest.raises(ConfigError, match="seeds must be"):
        parse_seeds(seeds)


@given(st.text(alphabet="ab:-[]{}&*!|>?#%@`'\",.0123456789\n <=~\\x\t", max_size=60))
def test_any_text_is_data_or_a_value_error(text: str) -> None:
    try:
        content = parse_yaml(text)
    except ValueError:
        return
    require_bounded(content)
