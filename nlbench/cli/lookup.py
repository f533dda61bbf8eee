"""From what people type to recorded runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlbench.cli.console import counted
from nlbench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nlbench.results.record import RunRecord


def record_by_prefix(
    records: Sequence[RunRecord], prefix: str, problems: Sequence[str] = ()
) -> RunRecord:
    """Return the one run whose fingerprint starts with a prefix.

    Args:
        records: The recorded runs.
        prefix: As typed.
        problems: A message per damaged record: the run may be one of them.

    Raises:
        ConfigError: if no run or several runs start with it.
    """
    matching = [record for record in records if record.fingerprint.startswith(prefix)]
    if len(matching) == 1:
        return matching[0]
    damaged = f", {len(problems)} damaged" if problems else ""
    total = f"{counted(len(records), 'recorded run')}{damaged} in all"
    if matching:
        names = ", ".join(record.fingerprint[:16] for record in matching[:3])
        raise ConfigError(
            f"{prefix!r} matches {len(matching)} runs ({names}, ...); give a longer prefix. "
            f"{total}."
        )
    raise ConfigError(
        f"no run matches {prefix!r}. {total}; `nlbench leaderboard --json` has their fingerprints."
    )
