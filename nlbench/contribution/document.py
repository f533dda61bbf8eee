"""The file that runs travel in: JSON, one line per run and per array, read as hostile."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlbench.contribution.evidence import ARRAYS, NEEDED, Evidence
from nlbench.contribution.packing import Array, key_of, pack, packed_length, unpack
from nlbench.errors import DataError, refusal
from nlbench.files import canonical_json, read_file
from nlbench.results.record import RunRecord

FORMAT, VERSION = "nlbench-runs", 1
MAX_BYTES = 64 * 2**20
MAX_VALUES = 2**27
"""Of all arrays of a file together: 1 GiB in memory, far more than a file of real runs has."""


@dataclass(frozen=True, eq=False)
class ContributedRun:
    """One run of a file; `evidence` is None where only its record was exported."""

    record: RunRecord
    evidence: Evidence | None = None


def encode(runs: Sequence[ContributedRun]) -> str:
    """Return the text of a file; equal arrays are written once, runs in order of fingerprint.

    Raises:
        DataError: if it would be larger than what `read_runs` reads.
    """
    arrays: dict[str, dict[str, Any]] = {}
    lines = []
    for run in sorted(runs, key=lambda run: run.record.fingerprint):
        named: dict[str, str] | None = None
        if run.evidence is not None:
            arrays_of_run = run.evidence.arrays()
            named = {name: key_of(values) for name, values in arrays_of_run.items()}
            arrays |= {
                named[name]: pack(arrays_of_run[name])
                for name in arrays_of_run
                if named[name] not in arrays
            }
        record = run.record.model_dump(by_alias=True)
        lines.append(canonical_json({"evidence": named, "record": record}))
    packed = [f'"{key}":{canonical_json(arrays[key])}' for key in sorted(arrays)]
    text = (
        f'{{"format":"{FORMAT}","version":{VERSION},\n"arrays":{{\n'
        + ",\n".join(packed)
        + '\n},\n"runs":[\n'
        + ",\n".join(lines)
        + "\n]}\n"
    )
    if len(text.encode()) > MAX_BYTES:
        raise DataError(
            f"the file would have {len(text.encode()) / 2**20:.0f} MiB, more than the "
            f"{MAX_BYTES / 2**20:.0f} MiB that are read. Export fewer runs per file, or "
            "--no-evidence."
        )
    return text


def read_runs(path: Path) -> list[ContributedRun]:
    """Read a file of runs; nothing in it is trusted.

    Raises:
        DataError: if it is not such a file, in whole or in part; names the file and the run.
    """
    content = _object(_parsed(path), str(path), {"format", "version", "arrays", "runs"})
    if content["format"] != FORMAT or content["version"] != VERSION:
        raise DataError(
            f"{path} is not a file of runs: format {content['format']!r:.40}, version "
            f"{content['version']!r:.40}; this version reads {FORMAT!r}, {VERSION}."
        )
    arrays, entries = content["arrays"], content["runs"]
    if not isinstance(arrays, dict) or not isinstance(entries, list) or not entries:
        raise DataError(f"{path} must contain an object `arrays` and a list `runs` with a run.")
    unpacked = _Arrays(arrays)
    return [_run(entry, unpacked, f"{path}, run {i}") for i, entry in enumerate(entries, start=1)]


def _parsed(path: Path) -> Any:
    try:
        return json.loads(
            read_file(path, MAX_BYTES).decode(),
            parse_constant=_not_finite, parse_float=_finite, parse_int=_bounded,
        )  # fmt: skip
    except OSError as error:
        raise DataError(str(refusal(error, path, "read"))) from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DataError(f"{path} cannot be read as JSON: {error}.") from None
    except RecursionError:
        raise DataError(f"{path} is nested too deeply.") from None


class _Arrays:
    """The arrays of a file, each unpacked once however many runs name it."""

    def __init__(self, packed: Mapping[str, Any]) -> None:
        self._packed = packed
        self._unpacked: dict[str, Array] = {}
        self._n_values = 0

    def of(self, key: Any, longest: int, source: str) -> Array:
        """Return an array that may have `longest` values.

        Raises:
            DataError: if it is missing, longer, not what its name says, or too much in all.
        """
        if not isinstance(key, str) or key not in self._packed:
            raise DataError(f"{source}: its array is not in the file.")
        n = packed_length(self._packed[key])
        if n > longest:
            raise DataError(f"{source}: {n} values, more than the {longest} samples of the data.")
        if key not in self._unpacked:
            self._n_values += n
            if self._n_values > MAX_VALUES:
                raise DataError(f"{source}: the file's arrays have more than {MAX_VALUES} values.")
            self._unpacked[key] = _checked_array(self._packed[key], key, source)
        return self._unpacked[key]


def _run(entry: Any, arrays: _Arrays, source: str) -> ContributedRun:
    fields = _object(entry, source, {"record", "evidence"})
    try:
        record = RunRecord.from_json(json.dumps(fields["record"]), source=source)
    except RecursionError:
        raise DataError(f"{source} is nested too deeply.") from None
    named = fields["evidence"]
    if named is None:
        return ContributedRun(record)
    if not isinstance(named, dict) or not set(NEEDED) <= set(named) <= set(ARRAYS):
        raise DataError(f"{source}: `evidence` must name {', '.join(NEEDED)} and no unknown array.")
    longest = max(record.dataset.n_train, record.dataset.n_test)
    unpacked = {name: arrays.of(key, longest, f"{source}, {name}") for name, key in named.items()}
    return ContributedRun(record, Evidence(**unpacked))


def _checked_array(packed: Any, key: str, source: str) -> Array:
    try:
        values = unpack(packed)
    except DataError as error:
        raise DataError(f"{source}: {error}.") from None
    if key_of(values) != key:
        raise DataError(f"{source}: the array does not have the hash it is named by.")
    return values


def _object(value: Any, source: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != keys:
        raise DataError(
            f"{source} must be an object with {', '.join(sorted(keys))}. "
            "`nlbench export` writes such files."
        )
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"{text[:40]} is not a whole number of 64 bits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text[:40]} is not a finite number")
