"""Figures of one board that are made of lines: precision against recall, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nlbench_leaderboard.figures.chart import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Figure,
    Series,
    axes,
    lines,
    outside,
    point,
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
from nlbench_leaderboard.figures.scale import Scale, focus
from nlbench_leaderboard.figures.styles import Drawn, Places, current, drawn
from nlbench_leaderboard.formats.numbers import percent
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, Board, Row
from nlbench_leaderboard.ranking.grouping import RowKey

_RECALLS_SHOWN = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
_LEARNING = (
    "Mean over seeds; the band, of the best method and of the bounds, goes from the lowest to "
    "the highest seed. A falling curve means that wrong labels are being memorised. The axis "
    "follows the second half of the training; earlier epochs may be below it."
)
_RECALL = (
    "Curves: the result of keeping the highest scores, mean over seeds, from the score histogram "
    "of each run (40 bins, evenly mixed within a bin). Open markers: what the method kept, which "
    "need not follow its score; names are in the order of its precision, the number on the right."
)


def recall_figure(board: Board, places: Places) -> Figure | None:
    """Draw precision against recall; an open marker is what the selector kept."""
    rows = current(board)
    means = {row.key: mean_curve([precision_at_recalls(r) for r in finished(row)]) for row in rows}
    values = {key: curve.tolist() for key, curve in means.items() if curve is not None}
    shown = drawn([row for row in rows if row.key in values])
    if not shown.rows:
        return None
    y = _precision_scale(shown, values)
    x = Scale(0.0, 1.0, LEFT, RIGHT)
    series = [
        Series(
            row.name,
            style := shown.style(row, places),
            list(zip(RECALLS.tolist(), values[row.key], strict=True)),
            extra=_kept(row, style, x, y),
            value=_precision(row),
            level=_level(row, values[row.key]),
        )
        for row in shown.rows
    ]
    kept = [(row.name, row.stats["selection_precision"].mean) for row in shown.named
            if "selection_precision" in row.stats]  # fmt: skip
    parts = axes(x, y, "recall: share of the clean labels kept, %", "precision, %")
    at = [RECALLS.tolist().index(recall) for recall in _RECALLS_SHOWN]
    return Figure(
        title="Precision and recall of the selection",
        note=_RECALL + shown.note + outside(kept, y),
        svg=svg(f"Precision against recall, {len(series)} curves", [*parts, *lines(series, x, y)]),
        head=("Selector", *(f"Precision at recall {100 * r:.0f} %" for r in _RECALLS_SHOWN)),
        lines=tuple((r.name, *(percent(values[r.key][i], 1) for i in at)) for r in shown.rows),
    )


def learning_figure(board: Board, places: Places) -> Figure | None:
    """Draw test accuracy after each epoch: mean over seeds, and a band from lowest to highest."""
    rows = current(board)
    by_key = {row.key: learning_curve(finished(row)) for row in rows if row.accuracy}
    curves = {key: [part.tolist() for part in curve] for key, curve in by_key.items() if curve}
    shown = drawn([row for row in rows if row.key in curves])
    n_epochs = max((len(curves[row.key][0]) for row in shown.rows), default=0)
    if n_epochs < 2:
        return None
    banded = (*shown.bounds, *shown.best[:1])
    series = [
        _learned(row, curves[row.key], shown.style(row, places), row in banded)
        for row in shown.rows
    ]
    methods = (*shown.best, *shown.others) or shown.bounds
    late = [value for row in methods for value in _second_half(curves[row.key][0])]
    bounds = [value for row in shown.bounds for value in _second_half(curves[row.key][0])]
    x = Scale(1.0, float(n_epochs), LEFT, RIGHT, whole=True, most=12)
    y = accuracy_scale(late, bounds)
    parts = axes(x, y, "epoch", accuracy_title(board), percent="y")
    last = [(row.name, curves[row.key][0][-1]) for row in shown.rows]
    return Figure(
        title="Learning curves",
        note=_LEARNING + shown.note + outside(last, y),
        svg=svg(f"Test accuracy over {n_epochs} epochs, {len(series)} curves",
                [*parts, *lines(series, x, y)]),
        head=("Selector", *(f"Epoch {i + 1}" for i in thinned(n_epochs, 5))),
        lines=tuple((row.name, *_at_epochs(curves[row.key][0], n_epochs)) for row in shown.rows),
    )  # fmt: skip


def accuracy_title(board: Board, when: str = "") -> str:
    """Return the title of an accuracy axis, which says where the test labels are noisy."""
    parts = ["test accuracy", when, AGAINST_NOISY_LABELS if board.against_noisy_labels else ""]
    return f"{', '.join(part for part in parts if part)}, %"


def accuracy_scale(means: Sequence[float], bounds: Sequence[float]) -> Scale:
    """Return the accuracy axis that follows the methods; bounds are inside where they are near."""
    low, high = focus(means or bounds, bounds)
    return Scale(low, high, BOTTOM, TOP)


def _learned(
    row: Row, curve: Sequence[Sequence[float]], style: int | str, has_band: bool
) -> Series:
    mean, low, high = curve
    at = thinned(len(mean))
    points = [(float(i + 1), mean[i]) for i in at]
    band = [(low[i], high[i]) for i in at] if has_band and len(row.runs) > 1 else []
    marked = () if isinstance(style, str) else (len(at) - 1,)
    return Series(row.name, style, points, band, True, marked, value=percent(mean[-1], 1))


def _second_half(curve: Sequence[float]) -> Sequence[float]:
    return curve[len(curve) // 2 :]


def _at_epochs(mean: Sequence[float], n_epochs: int) -> list[str]:
    """Return the accuracy at the epochs of the table; a dash where a curve is shorter."""
    return [percent(mean[i] if i < len(mean) else None) for i in thinned(n_epochs, 5)]


def _precision_scale(shown: Drawn, values: Mapping[RowKey, list[float]]) -> Scale:
    """Return the axis of most of the curves; what keeps everything may be far below them."""
    methods = (*shown.best, *shown.others) or shown.bounds
    points = [value for row in methods for value in values[row.key]]
    low, high = focus(points, [value for row in shown.bounds for value in values[row.key]])
    return Scale(low, high, BOTTOM, TOP)


def _precision(row: Row) -> str:
    kept = row.stats.get("selection_precision")
    return "" if kept is None else percent(kept.mean, 1)


def _level(row: Row, curve: Sequence[float]) -> float:
    kept = row.stats.get("selection_precision")
    return curve[-1] if kept is None else kept.mean


def _kept(row: Row, style: int | str, x: Scale, y: Scale) -> str:
    precision = row.stats.get("selection_precision")
    recall = row.stats.get("selection_recall")
    if precision is None or recall is None:
        return ""
    return point(style, x(recall.mean), precision.mean, y, "mk open")
