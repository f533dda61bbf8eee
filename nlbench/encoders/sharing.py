"""Embedding by several processes of a run: whole shards each, and the first one keeps the cache.

A shard has the same bits whoever computes it (`extract`), so that they are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from nlbench.encoders.extract import Progress, nothing_shown
from nlbench.errors import DataError, text_of
from nlbench.machine.ranks import Ranks, active

# Of some shards, one after the other.
Embeddings = Callable[[Sequence[Tensor]], Iterator[Tensor]]
Compute = Callable[[Sequence[Tensor], Progress], Iterator[Tensor]]


def found_by_first(
    find: Callable[[Embeddings], Tensor], compute: Compute, progress: Progress = nothing_shown
) -> Tensor:
    """Return what the first process finds, which has the others compute their part of what it asks.

    Args:
        find: Called in the first process with what computes shards; all of them where it is alone.
        compute: Computes shards in this process, and tells how far it is.
        progress: Called with (images encoded, images).

    Returns:
        The same tensor in every process, on the CPU.
    """
    ranks = active()
    if ranks is None:
        return find(lambda shards: compute(shards, progress))
    if ranks.is_first:
        found = find(lambda shards: _computed_by_all(ranks, compute, shards, progress))
        ranks.from_first(None)  # nothing more is asked
        return ranks.from_first(found)
    while (shards := ranks.from_first(None)) is not None:
        for _ in _rounds(ranks, compute, shards):
            pass
    found_elsewhere: Tensor | None = ranks.from_first(None)
    if found_elsewhere is None:
        raise ValueError("the first process found nothing")
    return found_elsewhere


def _computed_by_all(
    ranks: Ranks, compute: Compute, shards: Sequence[Tensor], progress: Progress
) -> Iterator[Tensor]:
    """Yield the shards in order, in the first process."""
    ranks.from_first(list(shards))
    done, total = 0, sum(map(len, shards))
    for of_round in _rounds(ranks, compute, shards):
        for shard in of_round:
            done += len(shard)
            progress(done, total)
            yield shard


def _rounds(ranks: Ranks, compute: Compute, shards: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield a shard of each process, round after round; nothing but in the first process."""
    mine = compute(shards[ranks.index :: ranks.n], nothing_shown)
    for _ in range(0, len(shards), ranks.n):
        shard, problem = _next_of(mine)
        everyone = ranks.to_first((shard, problem)) or []
        for i, (_, failed) in enumerate(everyone):
            if failed:
                where = "" if i == ranks.index else f" (process {i} of {ranks.n})"
                raise DataError(f"{failed}{where}")
        yield [shard for shard, _ in everyone if shard is not None]


def _next_of(mine: Iterator[Tensor]) -> tuple[Tensor | None, str]:
    """Return this process's next shard, if there is one, and what is wrong with it."""
    try:
        return next(mine, None), ""
    except DataError as error:
        return None, text_of(error)


def shared_views(n_rows: int, of_part: Callable[[slice], Tensor]) -> Tensor:
    """Return (V, N, d) of all rows, of which each process computes (V, n, d)."""
    ranks = active()
    if ranks is None or n_rows < ranks.n:
        return of_part(slice(0, n_rows))
    mine = of_part(ranks.share(n_rows)).transpose(0, 1)
    return ranks.whole(mine, n_rows).transpose(0, 1).contiguous()
