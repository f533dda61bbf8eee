"""Accuracy against noise rate: the boards that differ in nothing but the rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nlbench_leaderboard.figures.chart import LEFT, RIGHT, Figure, Series, axes, lines, outside, svg
from nlbench_leaderboard.figures.lines import accuracy_scale, accuracy_title
from nlbench_leaderboard.figures.scale import Scale, tick_text
from nlbench_leaderboard.figures.styles import Places, current, drawn
from nlbench_leaderboard.formats.numbers import percent
from nlbench_leaderboard.ranking.board import RANKED_BY, Board, Row
from nlbench_leaderboard.ranking.grouping import RowKey, stable_text

_APART = 4.0
Cells = list[tuple[float, Row]]


class NoiseGroup(NamedTuple):
    """Boards that differ in nothing but the noise rate, by rate."""

    title: str
    boards: tuple[Board, ...]


def noise_groups(boards: Sequence[Board]) -> list[NoiseGroup]:
    """Return the boards that differ only in the noise rate, where there are at least two."""
    groups: dict[tuple[str, ...], dict[float, Board]] = {}
    for board in boards:
        rate = board.noise.nominal_rate
        if rate is not None:
            groups.setdefault(_noise_key(board), {})[rate] = board
    result = []
    for by_rate in groups.values():
        if len(by_rate) > 1:
            words = next(iter(by_rate.values())).words
            noise = words.noise.partition(" % ")[2]
            title = " · ".join(part for part in (words.data, noise, words.protocol) if part)
            result.append(NoiseGroup(title, tuple(by_rate[rate] for rate in sorted(by_rate))))
    return result


def noise_figure(group: NoiseGroup, places: Places) -> Figure | None:
    """Draw accuracy against noise rate, None where no selector has a result at two rates."""
    cells = {key: some for key, some in _by_selector(group.boards).items() if len(some) > 1}
    if not cells:
        return None
    shown = drawn([cells[key][0][1] for key in _best_first(cells)])
    middle = (len(shown.named) - 1) / 2
    apart = {row.key: _APART * (i - middle) for i, row in enumerate(shown.named)}
    series = [
        _series(row, cells[row.key], shown.style(row, places), apart.get(row.key))
        for row in shown.rows
    ]
    rates = [board.noise.nominal_rate or 0.0 for board in group.boards]
    room = 0.06 * (rates[-1] - rates[0])
    x = Scale(rates[0] - room, rates[-1] + room, LEFT, RIGHT, fixed=tuple(rates))
    methods = [r.stats[RANKED_BY].mean for row in (*shown.best, *shown.others)
               for _, r in cells[row.key]]  # fmt: skip
    bounds = [r.stats[RANKED_BY].mean for row in shown.bounds for _, r in cells[row.key]]
    y = accuracy_scale(methods, bounds)
    last = [(row.name, cells[row.key][-1][1].stats[RANKED_BY].mean) for row in shown.rows]
    parts = axes(x, y, "nominal noise rate, %", accuracy_title(group.boards[0], "last epoch"))
    return Figure(
        title=group.title,
        note="Mean over seeds; bars are the 95 % t-interval, cut off where they leave the plot. "
        "Points are shifted slightly to avoid overlap; numbers are of the highest rate."
        + shown.note + outside(last, y),
        svg=svg(f"Accuracy against noise rate, {group.title}: {len(series)} lines",
                [*parts, *lines(series, x, y)]),
        head=("Selector", *(f"{tick_text(rate, percent=True)} % noise" for rate in rates)),
        lines=tuple(_numbers(row, dict(cells[row.key]), rates) for row in shown.rows),
    )  # fmt: skip


def _series(row: Row, cells: Cells, style: int | str, apart: float | None) -> Series:
    points = [(rate, r.stats[RANKED_BY].mean) for rate, r in cells]
    if apart is None:
        return Series(row.name, style, points)
    return Series(
        row.name,
        style,
        points,
        [r.stats[RANKED_BY].interval for _, r in cells],
        marked=() if row.bound else range(len(points)),
        apart=apart,
        value=percent(points[-1][1], 1),
    )


def _best_first(cells: Mapping[RowKey, Cells]) -> list[RowKey]:
    """Return the selectors by how far they are behind the best of each rate, on average."""
    best: dict[float, float] = {}
    for rate, row in (cell for some in cells.values() for cell in some):
        if not row.bound:
            best[rate] = max(best.get(rate, 0.0), row.stats[RANKED_BY].mean)
    behind = {
        key: np.mean([best.get(rate, 0.0) - row.stats[RANKED_BY].mean for rate, row in some])
        for key, some in cells.items()
    }
    return sorted(cells, key=lambda key: (round(float(behind[key]), 10), key))


def _noise_key(board: Board) -> tuple[str, ...]:
    data, noise = board.dataset, board.noise
    return (data.name, data.fingerprint, board.protocol.sha256, noise.kind,
            stable_text(noise.params))  # fmt: skip


def _by_selector(boards: Sequence[Board]) -> dict[RowKey, Cells]:
    cells: dict[RowKey, Cells] = {}
    for board in boards:
        for row in current(board):
            if row.accuracy:
                cells.setdefault(row.key, []).append((board.noise.nominal_rate or 0.0, row))
    return cells


def _numbers(row: Row, cells: Mapping[float, Row], rates: Sequence[float]) -> tuple[str, ...]:
    texts = []
    for rate in rates:
        mean = cells[rate].accuracy if rate in cells else None
        half = f" ± {percent(mean.half_width)}" if mean and mean.half_width is not None else ""
        texts.append(f"{percent(mean.mean if mean else None)}{half}")
    return (row.name, *texts)
