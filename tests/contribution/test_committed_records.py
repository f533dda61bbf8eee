"""The committed records are of the code that is here: numbers that changed are run again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from nlbench.config.code_versions import code_versions
from nlbench.config.run_config import RunConfig, recorded_config
from nlbench.contribution.document import encode, read_runs
from nlbench.results.record import RunRecord

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records"
FILES = sorted(RECORDS.glob("*.json"))


def stale_parts(record: RunRecord) -> list[str]:
    """Return which parts of a run are of another version than the installed one."""
    config = recorded_config(record.config)
    installed = installed_versions(config)
    parts = [
        f"{part} {_said(record.versions.get(part))} -> {_said(installed.get(part))}"
        for part in sorted(installed.keys() | record.versions.keys())
        if record.versions.get(part) != installed.get(part)
    ]
    current = config.model_copy(update={"versions": installed})
    if not parts and RunConfig(**current.model_dump()).fingerprint != record.fingerprint:
        parts = ["the fingerprint is not that of its configuration"]
    return parts


def _said(version: int | str | None) -> str:
    return "no version" if version is None else str(version)[:12]


def installed_versions(config: RunConfig) -> dict[str, int | str]:
    names = {
        "dataset": config.dataset.name,
        "noise": {"kind": config.noise.kind},
        "selector": {"name": config.selector.name},
        "trainer": {"name": config.trainer.name, "network": config.trainer.params.get("network")},
    }
    return code_versions(names, config.selector.params, config.protocol)


def stale_message(file: Path) -> str:
    """Return what is stale in a file and how to renew it; nothing where all is current."""
    runs = read_runs(file)
    stale = [parts for run in runs if (parts := stale_parts(run.record))]
    if not stale:
        return ""
    counts = Counter(part for parts in stale for part in parts)
    listed = "; ".join(f"{part} ({n} runs)" for part, n in sorted(counts.items()))
    kinds = sorted({run.record.noise.kind for run in runs})
    return (
        f"{file.name}: {len(stale)} of {len(runs)} runs are stale: {listed}.\n"
        "Renew them, with NLBENCH_HOME at an empty folder:\n"
        f"  {command_of(file)}\n"
        f"  nlbench export --all --noise {kinds[0]} --out leaderboard/records/{file.name}"
    )


def command_of(file: Path) -> str:
    """Return what made a file, as the table beside it says."""
    table = (RECORDS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in table if line.startswith(f"| `{file.name}` |")]
    return rows[0][3].strip().strip("`") if rows else "nlbench sweep (add its row to README.md)"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_table_says_how_a_file_was_made(file: Path) -> None:
    assert "add its row" not in command_of(file)


def test_there_are_committed_records() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_committed_records_are_current(file: Path) -> None:
    message = stale_message(file)
    assert not message, message


def test_a_stale_part_is_named_with_its_command(tmp_path: Path) -> None:
    run = read_runs(RECORDS / "digits-pair.json")[0]
    config = recorded_config(run.record.config)
    versions = installed_versions(config)
    current = RunConfig(**{**config.model_dump(), "versions": versions})
    fresh = run.record.model_copy(
        update={
            "versions": versions,
            "config": current.model_dump(),
            "fingerprint": current.fingerprint,
        }
    )
    assert stale_parts(fresh) == []
    old = fresh.model_copy(update={"versions": {**versions, "trainer": 0}})
    assert stale_parts(old) == [f"trainer 0 -> {versions['trainer']}"]
    moved = fresh.model_copy(update={"fingerprint": "0" * 64})
    assert stale_parts(moved) == ["the fingerprint is not that of its configuration"]

    file = tmp_path / "mine.json"
    file.write_text(encode([type(run)(record) for record in (fresh, old)]), encoding="utf-8")
    assert stale_message(file) == (
        f"mine.json: 1 of 2 runs are stale: trainer 0 -> {versions['trainer']} (1 runs).\n"
        "Renew them, with NLBENCH_HOME at an empty folder:\n"
        "  nlbench sweep (add its row to README.md)\n"
        "  nlbench export --all --noise pair --out leaderboard/records/mine.json"
    )
