"""What a sweep would do: the state of each cell before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nlbench.config.run_config import RunConfig
from nlbench.errors import DataError, RefusedError
from nlbench.results.store import RunStore, Unfinished

State = Literal[
    "finished", "under way", "paused", "killed", "failed", "damaged", "not readable", "to do"
]


def outlook(configs: Sequence[RunConfig], store: RunStore) -> list[State]:
    """Return what the home says of each cell, in order; nothing is run or written.

    ``under way`` is in another live process, ``paused`` ended early and goes on, ``killed`` and
    ``failed`` were begun and will be done again, as is ``damaged``, whose record says nothing;
    ``not readable`` is one that the operating system keeps from us, which a sweep reports as
    failed.
    """
    begun = {run.record.fingerprint: _begun(run) for run in store.unfinished()}
    return [_state(config.fingerprint, store, begun.get(config.fingerprint)) for config in configs]


def _begun(run: Unfinished) -> State:
    if run.alive:
        return "under way"
    return "paused" if run.is_paused else "killed"


def _state(fingerprint: str, store: RunStore, begun: State | None) -> State:
    try:
        record = store.read(fingerprint)
    except DataError:
        return "damaged"
    except RefusedError:
        return "not readable"
    if record is not None and record.status == "finished":
        return "finished"
    if begun is not None:
        return begun
    return "to do" if record is None else "failed"
