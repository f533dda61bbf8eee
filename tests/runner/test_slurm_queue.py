"""What is said when Slurm's commands do not do what they are asked; the commands are stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.errors import RunError
from nlbench.runner.on_slurm.queue import largest_array, states_of


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file: what stands in it, Slurm's commands write to stderr, and fail."""
    text = tmp_path / "text"
    for name in ("scontrol", "squeue"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n/bin/cat '{text}' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return text


def test_a_failure_is_one_line_with_a_next_step(says: Path) -> None:
    says.write_text("scontrol: error: no file /etc/slurm.conf\nscontrol: fatal: no configuration\n")
    with pytest.raises(RunError) as caught:
        largest_array()
    assert str(caught.value) == (
        "scontrol failed: error: no file /etc/slurm.conf; fatal: no configuration. "
        "Look whether `sinfo` answers here."
    )


def test_jobs_that_slurm_has_forgotten_are_no_failure(says: Path) -> None:
    says.write_text("slurm_load_jobs error: Invalid job id specified\n")
    assert states_of(["12_0", "12_1"]) == {}
    says.write_text("squeue: error: Unable to contact slurm controller\n")
    with pytest.raises(RunError, match="Unable to contact slurm controller"):
        states_of(["12_0"])
