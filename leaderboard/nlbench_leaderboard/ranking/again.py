"""The command that repeats several runs at once, from the commands in their records."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from nlbench.results.record import RunRecord

_AXES = ("--selector", "--seed", "--noise", "--noise-rate")
_MOST_SELECTORS = 5
"""With more than this the command leaves `--selector` out and sweeps over all of them."""
_LONGEST = 500


def sweep_command(records: Iterable[RunRecord]) -> str | None:
    """Return one ``nlbench sweep`` that repeats these runs, which may repeat a few more.

    Args:
        records: Runs of one board.

    Returns:
        None where the runs have no commands, or settings that one sweep cannot share.

    >>> sweep_command([])
    """
    axes: dict[str, dict[str, None]] = {axis: {} for axis in _AXES}
    rests: set[tuple[str, ...]] = set()
    for record in records:
        words = _words(record.command)
        if words[:2] != ["nlbench", "run"] or len(words) % 2:
            return None
        pairs = list(zip(words[2::2], words[3::2], strict=True))
        for option, value in pairs:
            if option in axes:
                axes[option][value] = None
        rests.add(tuple(word for pair in pairs if pair[0] not in axes for word in pair))
    selectors, seeds, noises, rates = (list(axes[axis]) for axis in _AXES)
    if len(rests) != 1 or len(noises) > 1 or len(rates) > 1 or not all(map(str.isdecimal, seeds)):
        return None
    (rest,) = rests
    if len(selectors) > 1 and any(word.startswith("selector.") for word in rest):
        return None
    command = ["nlbench", "sweep", *rest]
    if noises:
        command += ["--noise", ":".join([*noises, *rates])]
    if len(selectors) <= _MOST_SELECTORS:
        command += [word for name in selectors for word in ("--selector", name)]
    command += ["--seeds", _seeds_text(sorted(map(int, seeds)))]
    text = shlex.join(command)
    return text if len(text) <= _LONGEST else None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # an open quotation mark
        return []


def _seeds_text(seeds: Sequence[int]) -> str:
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))
