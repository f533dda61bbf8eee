"""Output goes to any terminal, file or pipe, whatever its encoding and width."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from mlflow_records import make_record
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.cli.export import without_place
from nlbench.cli.result_table import result_table
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore


def stored() -> RunRecord:
    names = ["café", "日本"]
    record = make_record(label="clip-knn", seed=3)
    dataset = record.dataset.model_copy(update={"class_names": names, "name": "café"})
    record = record.model_copy(update={"dataset": dataset, "command": "nlbench run --x café"})
    RunStore().write(record)
    return record


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp437"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_a_stream_that_is_not_utf_8_ends_no_command(environment: dict[str, str]) -> None:
    prefix = stored().fingerprint[:12]
    for words in (["show", "run", prefix], ["compare", prefix, prefix], ["show", "run", "é日"]):
        done = subprocess.run(
            [sys.executable, "-m", "nlbench", *words],
            env={**os.environ, **environment},
            capture_output=True,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        assert done.returncode == (2 if "é日" in words else 0)
    assert b"no run matches" in done.stderr


def test_what_ascii_lacks_comes_out_legible() -> None:
    code = (
        "from nlbench.cli.console import make_output_robust; make_output_robust(); "
        "print('97.5 ± 0.3 – α → … \\udce9')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "97.5 +- 0.3 - ? -> ... ?\n", done.stderr


def test_a_piped_table_is_not_cut() -> None:
    result = CliRunner().invoke(app, ["list", "--json"])
    assert result.exit_code == 0
    table = CliRunner().invoke(app, ["list"], env={"COLUMNS": ""}).stdout
    narrow = CliRunner().invoke(app, ["list"], env={"COLUMNS": "60"}).stdout
    assert "…" not in table
    assert max(map(len, narrow.splitlines())) <= 60
    for entry in json.loads(result.stdout):
        assert entry["summary"] in table  # on one line


def test_accuracy_on_noisy_test_labels_is_marked() -> None:
    record = stored()
    dataset = record.dataset.model_copy(update={"test_labels_are_clean": False})
    noisy = record.model_copy(update={"dataset": dataset})

    def notes(record: RunRecord) -> str:
        return " ".join(str(cell) for cell in result_table(record).columns[2]._cells)

    assert notes(noisy).count("against noisy labels") == 2
    assert "against noisy labels" not in notes(record)


@pytest.mark.parametrize("folder", ["/data", "/home/me/my data", "it's", 'say "it"', "~/x"])
def test_an_exported_command_does_not_say_where_the_data_lie(folder: str) -> None:
    command = shlex.join(["nlbench", "run", "--data-dir", folder, "--set", "a=b c"])
    assert without_place(command) == "nlbench run --data-dir DIR --set 'a=b c'"
    assert without_place("nlbench run --seed 1") == "nlbench run --seed 1"
