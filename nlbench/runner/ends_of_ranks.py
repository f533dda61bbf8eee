"""How the processes of one run hear of each other's end: by the error files that torchrun names.

Each process has a file of its own, `<folder>/<rank>/error.json`, as torch.distributed.elastic
writes them, so that torchrun's report says the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench.errors import NlbenchError, RunError, text_of

if TYPE_CHECKING:
    from nlbench.machine.ranks import Ranks

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
NOTICED = "noticed"

_WORD_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.05
# What torch raises where an exchange failed, beside its own class: gloo and NCCL name themselves.
_OF_EXCHANGES = ("gloo", "nccl", "connection closed by peer", "connection reset", "processgroup")


class ProcessLostError(RunError):
    """Another process ended, which has an error file of its own."""


def note_end(path: Path, why: str) -> None:
    """Write why a process ended, unless it says so already."""
    if not path.exists():
        told = {"message": why, "extraInfo": {"timestamp": str(int(time.time()))}}
        with suppress(OSError):
            path.write_text(json.dumps({"message": told}), encoding="utf-8")


@contextmanager
def end_noted() -> Iterator[None]:
    """Inside, an error of this process is left where the others and torchrun look for it."""
    try:
        yield
    except Exception as error:
        own = os.environ.get(ERROR_FILE)
        if own and not isinstance(error, ProcessLostError) and not is_of_exchange(error):
            note_end(Path(own), f"{type(error).__name__}: {text_of(error)}")
        raise


@contextmanager
def others_named(ranks: Ranks | None) -> Iterator[None]:
    """Inside, a failed exchange becomes an error that says which process ended, and why.

    Raises:
        RunError: in place of what torch raised.
    """
    try:
        yield
    except Exception as error:
        if ranks is None or isinstance(error, NlbenchError) or not is_of_exchange(error):
            raise
        _say_noticed()
        who, why = _word_of_another(ranks.index, ranks.n)
        raise ProcessLostError(
            f"{who} of the {ranks.n} that share this run has ended: {why}. If memory ran out, "
            "fewer --devices need less; the same command goes on from the last checkpoint."
        ) from error


def _say_noticed() -> None:
    """Tell who has started this process that it is about to end by itself."""
    own = os.environ.get(ERROR_FILE)
    if own:
        with suppress(OSError):
            Path(own).with_name(NOTICED).touch()


def is_of_exchange(error: BaseException) -> bool:
    """Return whether this is an error of the processes' talk, not of what they compute."""
    if type(error).__module__.startswith("torch.distributed") or "Dist" in type(error).__name__:
        return True
    text = f"{error}".lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _OF_EXCHANGES)


def _word_of_another(index: int, n: int) -> tuple[str, str]:
    """Return which process has ended and why, as soon as somebody has said it."""
    own = os.environ.get(ERROR_FILE)
    end = time.monotonic() + _WORD_WITHIN_S
    while own and time.monotonic() < end:
        for other in set(range(n)) - {index}:
            path = Path(own).parents[1] / str(other) / "error.json"
            with suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads(path.read_text("utf-8"))["message"]["message"]
                return f"process {other}", str(told)
        time.sleep(_LOOK_EVERY_S)
    return "a process", "it left no word, as where it was killed"
