"""Recall of an inverted-file index of nearest neighbours, and what it changes in a selection.

The index is the one that FAISS calls IVF-Flat: k-means of a sample gives the cells, a query looks
into those whose centres are nearest, and compares exactly there. Written in numpy here: what is
asked is its recall, not its speed, which is told as the share of the vectors that are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nlbench.config.resolve import resolve
from nlbench.results.store import RunStore
from nlbench.runner.inputs import prepare
from nlbench.runner.steps import select
from nlbench.runner.workplace import Workplace
from nlbench.scoring import consistency

Rows = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recall:
    """Of one index with one number of probes.

    Attributes:
        compared: Share of the vectors that a query is compared with, its cells' mean size.
        recall: Share of the true k nearest that are found.
        iou: Intersection over union of the samples that a vote of neighbours keeps, with found
            and with true neighbours.
    """

    n: int
    n_cells: int
    n_probes: int
    compared: float
    recall: float
    iou: float


Given = tuple[torch.Tensor, torch.Tensor, int]
"""Embeddings (N, d), noisy labels (N,), and K."""


def drawn(n: int) -> Given:
    """Return drawn embeddings with 40 % wrong labels: classes that neighbours hardly tell apart."""
    from synthetic import synthetic

    data, _ = synthetic(n, 10)
    return data.embeddings("image"), data.noisy_labels, 10


def photographs(data_dir: Path) -> Given:
    """Return the embeddings of CIFAR-10's images that the recipes of frozen features have."""
    config = resolve(selector="none", recipe="features/cifar10n-worse", data_dir=data_dir)
    place = Workplace(RunStore(), torch.device("cpu"), data_dir=data_dir)
    choice = select(prepare(config, place))  # embeddings are given out as long as it is there
    view = choice.view
    return view.embeddings("image"), view.noisy_labels, view.n_classes


def recalls(given: Given, k: int, probes: tuple[int, ...], n_queries: int) -> list[Recall]:
    """Return the recall for each number of probes."""
    vectors, labels, n_classes = given
    n = len(vectors)
    queries = torch.randperm(n, generator=torch.Generator().manual_seed(1))[:n_queries]
    exact = _exact(vectors, queries, k)
    rows = vectors.numpy()
    n_cells = max(4, round(4 * n**0.5))
    centres = _centres(rows, n_cells)
    cell_of = _most_alike(rows, centres)
    kept = _kept(exact, queries, labels, n_classes)
    answers = []
    for n_probes in probes:
        found, compared = _looked_up(rows, queries.numpy(), centres, cell_of, n_probes, k)
        hit = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, exact, strict=True)])
        also = _kept(found, queries, labels, n_classes)
        iou = float((kept & also).sum() / (kept | also).sum())
        answers.append(Recall(n, n_cells, n_probes, compared, float(hit), iou))
    return answers


def _exact(vectors: torch.Tensor, queries: torch.Tensor, k: int) -> list[Ids]:
    similar = [vectors[part] @ vectors.T for part in queries.split(256)]
    found = []
    for part, values in zip(queries.split(256), similar, strict=True):
        values[torch.arange(len(part)), part] = -torch.inf
        found += list(values.topk(k, dim=1).indices.numpy())
    return found


def _centres(rows: Rows, n_cells: int) -> Rows:
    from sklearn.cluster import MiniBatchKMeans

    sample = rows[np.random.default_rng(2).permutation(len(rows))[: 40 * n_cells]]
    fitted = MiniBatchKMeans(n_cells, random_state=0, n_init=1, batch_size=4096, max_iter=8).fit(
        sample
    )
    centres: Rows = fitted.cluster_centers_.astype(np.float32)
    return centres


def _most_alike(rows: Rows, centres: Rows) -> Ids:
    """Return the nearest centre of each row, by Euclidean distance, as k-means has it."""
    half = 0.5 * (centres**2).sum(1)
    parts = [np.argmax(part @ centres.T - half, 1) for part in np.array_split(rows, 64)]
    return np.concatenate(parts)


def _looked_up(
    rows: Rows, queries: Ids, centres: Rows, cell_of: Ids, n_probes: int, k: int
) -> tuple[list[Ids], float]:
    order = np.argsort(cell_of, kind="stable")
    starts = np.searchsorted(cell_of[order], np.arange(len(centres) + 1))
    half = 0.5 * (centres**2).sum(1)
    found, compared = [], 0
    for query in queries:
        near = np.argpartition(half - rows[query] @ centres.T, n_probes - 1)[:n_probes]
        members = np.concatenate([order[starts[cell] : starts[cell + 1]] for cell in near])
        members = members[members != query]
        compared += len(members)
        nearest = np.argsort(-(rows[members] @ rows[query]), kind="stable")[:k]
        found.append(members[nearest])
    return found, compared / len(queries) / len(rows)


def _kept(
    found: list[Ids], queries: torch.Tensor, labels: torch.Tensor, n_classes: int
) -> npt.NDArray[np.bool_]:
    """Return which queries `clip-knn`'s rule keeps: none of the classes has more neighbours."""
    votes = np.stack([np.bincount(labels[ids].numpy(), minlength=n_classes) for ids in found])
    share = torch.from_numpy(votes / np.bincount(labels.numpy(), minlength=n_classes))
    share = share / share.sum(1, keepdim=True)
    keep: npt.NDArray[np.bool_] = (consistency(share, labels[queries]) >= 1).numpy()
    return keep
