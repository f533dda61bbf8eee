"""Pictures that are there more than once: with the same pixels, or the same picture processed.

Near copies have perceptual hashes (64 bits: the signs of the lowest frequencies, pHash of the
library ImageHash) that differ in at most `HASH_BITS`, and grey thumbnails of 16 x 16 that correlate
by at least `CORRELATION`. Neither changes with size, compression, brightness or contrast. Both
thresholds were set on CIFAR-10 (docs/clean.md), whose copies people have judged (Barz and
Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.findings import PictureProblem
from nlbench.audit.pictures.sight import Sights
from nlbench.scoring.blocks import over_blocks

HASH_BITS = 6
"""Of 64: of 20 pairs each in CIFAR-10 that differ in 8 bits, a third are other pictures."""
CORRELATION = 0.8
CONTRAST = 8
"""Standard deviation of a thumbnail, of 255 levels; the hash of a plain picture is its noise."""
MOST_ROWS = 20
"""Pictures of a group that are named; the number of all is told."""

# A picture in a film has thousands of near copies; some of them are enough to connect them all.
_MOST_MATCHES = 64
_ROWS, _COLUMNS = 512, 32768

Groups = list[npt.NDArray[np.int64]]


def copy_problems(
    seen: Sights, labels: npt.NDArray[np.int64], parts: Sequence[str]
) -> list[PictureProblem]:
    """Return the groups of identical pictures, then those of nearly identical ones.

    A group whose pictures are all identical is not named again among the near ones.
    """
    rows = np.flatnonzero(seen["is_seen"])
    content = np.ascontiguousarray(seen["content"][rows]).view("V32").ravel()
    _, first, of = np.unique(content, return_index=True, return_inverse=True)
    problems = [_problem("copies", rows[g], labels, parts) for g in _groups(of)]
    near = _near_groups(seen[rows[first]])
    members = _members(of, len(first))
    for group in near:
        everyone = np.sort(np.concatenate([members[one] for one in group.tolist()]))
        problems.append(_problem("near-copies", rows[everyone], labels, parts))
    return problems


def _problem(
    kind: str, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], parts: Sequence[str]
) -> PictureProblem:
    of = np.unique(labels[rows])
    if len(of) > 1:
        kind += "-two-labels"
    elif len({parts[row] for row in rows.tolist()}) > 1:
        kind += "-across-parts"
    detail = f"{len(rows)} pictures"
    if len(rows) > MOST_ROWS:
        detail += f", {MOST_ROWS} of them named"
    shown = _shown(rows, labels)
    return PictureProblem(kind, tuple(shown), detail, tuple(of.tolist()) if len(of) > 1 else ())


def _shown(rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> list[int]:
    """Return at most `MOST_ROWS` rows, of every label the first ones, in order."""
    if len(rows) <= MOST_ROWS:
        return [int(row) for row in rows]
    rank = np.zeros(len(rows), dtype=np.int64)
    for label in np.unique(labels[rows]):
        own = labels[rows] == label
        rank[own] = np.arange(own.sum())
    return sorted(int(row) for row in rows[np.argsort(rank, kind="stable")[:MOST_ROWS]])


def _members(of: npt.NDArray[np.int64], n_groups: int) -> Groups:
    order = np.argsort(of, kind="stable")
    return np.split(order, np.cumsum(np.bincount(of, minlength=n_groups))[:-1])


def _groups(of: npt.NDArray[np.int64]) -> Groups:
    """Return the members of every group that has two or more."""
    if not len(of):
        return []
    return [group for group in _members(of, int(of.max()) + 1) if len(group) > 1]


def _near_groups(seen: Sights) -> Groups:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    small = seen["small"].reshape(len(seen), -1).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    deviation = small.std(axis=1)
    rows = np.flatnonzero(deviation >= CONTRAST)
    if len(rows) < 2:
        return []
    unit = torch.from_numpy(small[rows] / (deviation[rows, None] * small.shape[1] ** 0.5))
    bits = np.unpackbits(seen["hash"][rows], axis=1)
    signs = torch.from_numpy(bits.astype(np.float32) * 2 - 1)
    pairs = torch.cat(list(_pairs(signs, unit))).numpy()
    links = np.ones(len(pairs), dtype=bool)
    graph = coo_array((links, (pairs[:, 0], pairs[:, 1])), shape=(len(rows), len(rows)))
    _, of = connected_components(graph, directed=False)
    return [rows[group] for group in _groups(of)]


def _pairs(signs: Tensor, unit: Tensor) -> Iterator[Tensor]:
    """Return the pairs (P, 2) of near copies, block by block; a matrix product compares hashes."""
    least = signs.shape[1] - 2 * HASH_BITS - 0.5

    def of_rows(rows: slice) -> Tensor:
        found = [torch.empty((0, 2), dtype=torch.long)]
        for start in range(rows.start, len(signs), _COLUMNS):
            agree = signs[rows] @ signs[start : start + _COLUMNS].T
            i, j = (agree >= least).nonzero(as_tuple=True)
            i, j = i + rows.start, j + start
            i, j = i[j > i], j[j > i]
            # Of what is sorted by i, the first matches of each.
            counts = torch.bincount(i - rows.start, minlength=rows.stop - rows.start)
            firsts = counts.cumsum(0) - counts
            few = torch.arange(len(i)) - firsts[i - rows.start] < _MOST_MATCHES
            i, j = i[few], j[few]
            alike = (unit[i] * unit[j]).sum(dim=1) >= CORRELATION
            found.append(torch.stack([i[alike], j[alike]], dim=1))
        return torch.cat(found)

    return over_blocks(of_rows, len(signs), _ROWS, signs.device)
