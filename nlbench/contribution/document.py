"""The file that runs travel in: JSON, one line per run and per array, read as hostile."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlbench.contribution.evidence import ARRAYS, NEEDED, Evidence
from nlbench.contribution.packing import key_of, pack, unpack
from nlbench.errors import DataError
from nlbench.files import canonical_json
from nlbench.results.record import RunRecord

FORMAT, VERSION = "nlbench-runs", 1
MAX_BYTES = 64 * 2**20


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
    return [_run(entry, arrays, f"{path}, run {i}") for i, entry in enumerate(entries, start=1)]


def _parsed(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
        return json.loads(raw.decode(), parse_constant=_not_finite, parse_float=_finite)
    except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DataError(f"{path} cannot be read as JSON: {error}.") from None
    except RecursionError:
        raise DataError(f"{path} is nested too deeply.") from None


def _run(entry: Any, arrays: Mapping[str, Any], source: str) -> ContributedRun:
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
    unpacked = {name: _array(arrays, key, f"{source}, {name}") for name, key in named.items()}
    return ContributedRun(record, Evidence(**unpacked))


def _array(arrays: Mapping[str, Any], key: Any, source: str) -> Any:
    if not isinstance(key, str) or key not in arrays:
        raise DataError(f"{source}: its array is not in the file.")
    try:
        values = unpack(arrays[key])
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


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text[:40]} is not a finite number")
