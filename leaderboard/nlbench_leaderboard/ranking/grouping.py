"""Which runs belong together: the key of a board, the key of a row, and their addresses.

Titles are made elsewhere (`titles`): words may change, addresses and keys stay.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nlbench.results.record import RunRecord
from nlbench_leaderboard.escape import shorten


class BoardKey(NamedTuple):
    """Runs are comparable where all of this is equal."""

    dataset: str
    dataset_fingerprint: str
    noise: str
    rate: str
    noise_params: str
    protocol_sha256: str


class RowKey(NamedTuple):
    """One method with its settings; the same on every board of a page."""

    label: str
    params: str


def board_key(record: RunRecord) -> BoardKey:
    """Return the board of a record."""
    noise = record.noise
    return BoardKey(
        record.dataset.name,
        record.dataset.fingerprint,
        noise.kind,
        "" if noise.nominal_rate is None else repr(noise.nominal_rate),
        stable_text(noise.params),
        record.protocol.sha256,
    )


def row_key(record: RunRecord) -> RowKey:
    """Return the row of a record within its board."""
    training = record.protocol.settings.get("training")
    shared = training if isinstance(training, dict) else {}  # whatever a stranger wrote
    trainer = {k: v for k, v in record.trainer.params.items() if k not in shared}
    params = {"selector": record.selector.params, "trainer": {record.trainer.name: trainer}}
    return RowKey(record.label, stable_text(params))


def group_boards(records: Sequence[RunRecord]) -> dict[BoardKey, list[RunRecord]]:
    """Group records by board.

    A run that failed before its data was read has no data fingerprint. It joins the board that
    agrees in everything else, so that the failure is shown where it matters.
    """
    groups: dict[BoardKey, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(board_key(record), []).append(record)
    for key in [k for k in groups if not k.dataset_fingerprint]:
        same = [k for k in groups if k != key and k._replace(dataset_fingerprint="") == key]
        if len(same) == 1 and all(r.status != "finished" for r in groups[key]):
            groups[same[0]] += groups.pop(key)
    return groups


def tag_rows(keys: Iterable[RowKey]) -> dict[RowKey, str]:
    """Return what distinguishes rows with the same label: mostly nothing, else the parameters."""
    unique = dict.fromkeys(keys)
    taken = Counter(key.label for key in unique)
    return {
        key: f"parameters {digest(key.params)}" if taken[key.label] > 1 else "" for key in unique
    }


def board_ids(groups: Mapping[BoardKey, Sequence[RunRecord]]) -> dict[BoardKey, str]:
    """Return each board an id for deep links, such as ``digits-symmetric-0.40-v1``.

    It is made of the names in the records and not of the title, so that links outlive its words.
    """
    plain = {key: _names(key, records[0]) for key, records in groups.items()}
    same = Counter(plain.values())
    slugs = {
        key: _slug(
            names
            if same[names] == 1
            else f"{names} {difference(key, [k for k in plain if plain[k] == names])}"
        )
        for key, names in plain.items()
    }
    taken = Counter(slugs.values())
    return {
        key: slug if slug and taken[slug] == 1 else f"{slug or 'board'}-{digest(*key)}"
        for key, slug in slugs.items()
    }


def stable_text(value: Any) -> str:
    """Return one text for equal values, also for those that are not valid JSON (NaN)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def rate_text(rate: float) -> str:
    """Return a noise rate with two decimals, or with as many as it needs."""
    return f"{rate:.2f}" if math.isclose(rate, round(rate, 2)) else f"{rate:g}"


def _names(key: BoardKey, record: RunRecord) -> str:
    rate = record.noise.nominal_rate
    noise = key.noise if rate is None else f"{key.noise} {rate_text(rate)}"
    label_set = record.noise.params.get("label_set")
    if label_set is not None:
        noise += f" {shorten(str(label_set), 40)}"
    return f"{key.dataset} · {noise} · {record.protocol.id}"


def difference(key: BoardKey, twins: Sequence[BoardKey]) -> str:
    """Return by hashes what tells a board from others of the same name."""
    parts = []
    if len({k.dataset_fingerprint for k in twins}) > 1:
        parts.append(f"data {key.dataset_fingerprint[:8] or 'unknown'}")
    if len({(k.rate, k.noise_params) for k in twins}) > 1:
        parts.append(f"noise {digest(key.rate, key.noise_params)}")
    if len({k.protocol_sha256 for k in twins}) > 1:
        parts.append(f"protocol {key.protocol_sha256[:8]}")
    # Different data set names can still print alike; the digest of the whole key settles it.
    return " · ".join(parts) or digest(*key)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-.")[:80]


def digest(*parts: str) -> str:
    """Return eight hexadecimal digits that stand for these texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:8]
