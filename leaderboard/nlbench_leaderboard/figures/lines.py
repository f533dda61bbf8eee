"""Figures made of lines: accuracy against noise rate, precision against recall, learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.figures.chart import (
    BOTTOM,
    LEFT,
    MOST_SERIES,
    RIGHT,
    TOP,
    Figure,
    Series,
    axes,
    lines,
    marker,
    svg,
)
from nlbench_leaderboard.figures.curves import (
    RECALLS,
    finished,
    learning_curve,
    mean_curve,
    precision_at_recalls,
    thinned,
)
from nlbench_leaderboard.figures.scale import Scale
from nlbench_leaderboard.formats.numbers import percent
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, RANKED_BY, Board, Row
from nlbench_leaderboard.ranking.grouping import RowKey, rate_text, stable_text

Places = Mapping[RowKey, int]
_APART = 2.5
_RECALLS_SHOWN = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


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
            some = next(iter(by_rate.values()))
            parts = (some.dataset.name, f"{some.noise.kind} noise", some.protocol.id)
            title = " · ".join(shorten(part, 60) for part in parts)
            result.append(NoiseGroup(title, tuple(by_rate[rate] for rate in sorted(by_rate))))
    return result


def noise_figure(group: NoiseGroup, places: Places) -> Figure | None:
    """Draw accuracy against noise rate, None where no selector has a result at two rates."""
    by_selector = _by_selector(group.boards)
    drawable = {key: cells for key, cells in by_selector.items() if len(cells) > 1}
    if not drawable:
        return None
    best_first = sorted(drawable, key=lambda key: places.get(key, -1))
    drawn, n_drawn, n_all = _drawn([drawable[key][0][1] for key in best_first])
    series = []
    for place, row in enumerate(drawn):
        cells = drawable[row.key]
        points = [(rate, r.stats[RANKED_BY].mean) for rate, r in cells]
        apart = _APART * (place - (len(drawn) - 1) / 2)
        spread = [r.stats[RANKED_BY].interval for _, r in cells]
        every = () if row.bound else range(len(points))
        series.append(
            Series(row.name, _style(row, places), points, spread, marked=every, apart=apart)
        )
    means = [y for one in series for _, y in one.points]
    rates = [board.noise.nominal_rate or 0.0 for board in group.boards]
    room = 0.08 * (rates[-1] - rates[0])
    x = Scale(rates[0] - room, rates[-1] + room, LEFT, RIGHT, fixed=tuple(rates))
    y = accuracy_scale(means, [s for one in series for s in one.spread if s])
    parts = axes(x, y, "nominal noise rate, %", accuracy_title(group.boards[0], "last epoch"))
    return Figure(
        title=group.title,
        note="Mean over seeds; bars are the 95 % t-interval, cut off where they leave the plot. "
        "Points are shifted slightly to avoid overlap. " + _left_out(n_drawn, n_all),
        svg=svg(f"Accuracy against noise rate, {group.title}: {len(series)} lines",
                [*parts, *lines(series, x, y)]),
        head=("Selector", *(f"{rate_text(rate)}" for rate in rates)),
        lines=tuple(_noise_line(row, dict(drawable[row.key]), rates) for row in drawn),
    )  # fmt: skip


def recall_figure(board: Board, places: Places) -> Figure | None:
    """Draw precision against recall; an open marker is what the selector kept."""
    rows = _current(board)
    means = {row.key: mean_curve([precision_at_recalls(r) for r in finished(row)]) for row in rows}
    values = {key: curve.tolist() for key, curve in means.items() if curve is not None}
    drawn, n_drawn, n_all = _drawn([row for row in rows if row.key in values])
    if not drawn:
        return None
    low = min(min(values[row.key]) for row in drawn)
    x = Scale(0.0, 1.0, LEFT, RIGHT)
    y = Scale(max(0.0, min(low, 0.95) - 0.02), 1.0, BOTTOM, TOP)
    series = [
        Series(
            row.name,
            _style(row, places),
            list(zip(RECALLS.tolist(), values[row.key], strict=True)),
            extra=_kept(row, places, x, y),
        )
        for row in drawn
    ]
    parts = axes(x, y, "recall: share of the clean labels kept, %", "precision, %")
    shown = [RECALLS.tolist().index(recall) for recall in _RECALLS_SHOWN]
    return Figure(
        title="Precision and recall of the selection",
        note="Curves: the result of keeping the highest scores, mean over seeds, from the score "
        "histogram of each run (40 bins, evenly mixed within a bin). Open markers: what the "
        "selector kept, which need not follow its score. " + _left_out(n_drawn, n_all),
        svg=svg(f"Precision against recall, {len(series)} curves", [*parts, *lines(series, x, y)]),
        head=("Selector", *(f"Precision at recall {r:.0%}" for r in _RECALLS_SHOWN)),
        lines=tuple((row.name, *(percent(values[row.key][i], 1) for i in shown)) for row in drawn),
    )


def learning_figure(board: Board, places: Places) -> Figure | None:
    """Draw test accuracy after each epoch: mean over seeds, and a band from lowest to highest."""
    rows = _current(board)
    by_key = {row.key: learning_curve(finished(row)) for row in rows if row.accuracy}
    curves = {key: curve for key, curve in by_key.items() if curve}
    drawn, n_drawn, n_all = _drawn([row for row in rows if row.key in curves])
    n_epochs = max((len(curves[row.key][0]) for row in drawn), default=0)
    if n_epochs < 2:
        return None
    series, table = [], []
    for row in drawn:
        mean, low, high = (part.tolist() for part in curves[row.key])
        kept = thinned(len(mean))
        points = [(float(i + 1), mean[i]) for i in kept]
        band = [(low[i], high[i]) if len(row.runs) > 1 else None for i in kept]
        marked = () if row.bound else (len(kept) - 1,)
        series.append(Series(row.name, _style(row, places), points, band, True, marked))
        table.append((row.name, *(percent(mean[i]) for i in thinned(len(mean), 5))))
    x = Scale(1.0, float(n_epochs), LEFT, RIGHT, whole=True)
    y = accuracy_scale([p[1] for s in series for p in s.points], [])
    parts = axes(x, y, "epoch", accuracy_title(board), percent="y")
    return Figure(
        title="Learning curves",
        note="Mean over seeds; the band goes from the lowest to the highest seed. A "
        "falling curve means that wrong labels are being memorised. " + _left_out(n_drawn, n_all),
        svg=svg(f"Test accuracy over {n_epochs} epochs, {len(series)} curves",
                [*parts, *lines(series, x, y)]),
        head=("Selector", *(f"Epoch {i + 1}" for i in thinned(n_epochs, 5))),
        lines=tuple(table),
    )  # fmt: skip


def accuracy_title(board: Board, when: str = "") -> str:
    """Return the title of an accuracy axis, which says where the test labels are noisy."""
    parts = ["test accuracy", when, AGAINST_NOISY_LABELS if board.against_noisy_labels else ""]
    return f"{', '.join(part for part in parts if part)}, %"


def accuracy_scale(means: Sequence[float], spread: Iterable[tuple[float, float]]) -> Scale:
    """Return the accuracy axis: all means, and of intervals at most half that range more."""
    room = max((max(means) - min(means)) / 2, 0.01)
    margin = max(0.005, (max(means) - min(means)) / 25)  # markers stay off the axis
    ends = [end for interval in spread for end in interval]
    low = max(0.0, min(means) - room, min([*means, *ends]) - margin)
    high = min(1.0, max(means) + room, max([*means, *ends]) + margin)
    return Scale(low, max(high, low + 0.01), BOTTOM, TOP)


def _noise_key(board: Board) -> tuple[str, ...]:
    data, noise = board.dataset, board.noise
    return (data.name, data.fingerprint, board.protocol.sha256, noise.kind,
            stable_text(noise.params))  # fmt: skip


def _by_selector(boards: Sequence[Board]) -> dict[RowKey, list[tuple[float, Row]]]:
    cells: dict[RowKey, list[tuple[float, Row]]] = {}
    for board in boards:
        for row in _current(board):
            if row.accuracy:
                cells.setdefault(row.key, []).append((board.noise.nominal_rate or 0.0, row))
    return cells


def _current(board: Board) -> list[Row]:
    return [row for row in board.rows if not row.older]


def _drawn(rows: Sequence[Row]) -> tuple[list[Row], int, int]:
    """Return the bounds and the first selectors, the number of these, and of all selectors."""
    selectors = [row for row in rows if not row.bound]
    first = selectors[:MOST_SERIES]
    return [*(row for row in rows if row.bound), *first], len(first), len(selectors)


def _left_out(n_drawn: int, n_all: int) -> str:
    return "" if n_drawn == n_all else f"The best {n_drawn} of {n_all} selectors are drawn."


def _style(row: Row, places: Places) -> int | str:
    return row.bound or places[row.key]


def _noise_line(row: Row, cells: Mapping[float, Row], rates: Sequence[float]) -> tuple[str, ...]:
    texts = []
    for rate in rates:
        mean = cells[rate].accuracy if rate in cells else None
        half = f" ± {percent(mean.half_width)}" if mean and mean.half_width is not None else ""
        texts.append(f"{percent(mean.mean if mean else None)}{half}")
    return (row.name, *texts)


def _kept(row: Row, places: Places, x: Scale, y: Scale) -> str:
    precision = row.stats.get("selection_precision")
    recall = row.stats.get("selection_recall")
    if precision is None or recall is None:
        return ""
    return marker(_style(row, places), x(recall.mean), y(precision.mean), "mk open")
