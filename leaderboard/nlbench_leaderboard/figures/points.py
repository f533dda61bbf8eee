"""Figures made of points and areas: cost, score histograms, average ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.figures.chart import (
    BOTTOM,
    LEFT,
    NAME_LENGTH,
    OTHER,
    TOP,
    WIDTH,
    Figure,
    axes,
    marker,
    outside,
    point,
    style,
    svg,
    text,
)
from nlbench_leaderboard.figures.curves import (
    cost,
    finished,
    mean_histogram,
    pareto_front,
    quantiles,
)
from nlbench_leaderboard.figures.lines import accuracy_scale, accuracy_title
from nlbench_leaderboard.figures.scale import Scale, tick_text
from nlbench_leaderboard.figures.styles import Places, current, drawn
from nlbench_leaderboard.formats.numbers import percent
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import RANKED_BY, Board, Row

MOST_POINTS = 40
MOST_HISTOGRAMS = 30
MOST_RANKS = 30

_CHARACTER = 6.6
_LINE = 20.0
_Array = npt.NDArray[np.float64]
_Box = tuple[float, float, float, float]


def cost_figure(board: Board, places: Places) -> Figure | None:
    """Draw accuracy against seconds, with a line through the Pareto front."""
    have = [(row, spent) for row in current(board) if row.accuracy and (spent := cost(row))]
    ranked = [pair for pair in have if pair[0].rank is not None]
    if not ranked:
        return None
    front = pareto_front([(spent, _accuracy(row)) for row, spent in ranked])
    on_front = [ranked[i] for i in front]
    rest = [pair for pair in ranked if pair not in on_front][: max(0, MOST_POINTS - len(front))]
    bounds = [pair for pair in have if pair[0].bound]
    shown = drawn([row for row, _ in have])
    points = [*on_front, *rest, *bounds]
    costs = [spent for _, spent in points]
    x = Scale(min(costs) / 1.15, max(costs) * 1.15, LEFT, WIDTH - 20.0, log=True)
    y = accuracy_scale([_accuracy(row) for row, _ in ranked], [_accuracy(row) for row, _ in bounds])
    title = "embedding + selection + training, s (log scale)"
    at = [(x(spent), _accuracy(row)) for row, spent in points]
    steps = "".join(f"{'H' if i else 'M'}{a:g}{f'V{y(b):g}' if i else f' {y(b):g}'}"
                    for i, (a, b) in enumerate(at[: len(front)]))  # fmt: skip
    parts = [
        *axes(x, y, title, accuracy_title(board), "y"),
        f'<path class="front" d="{steps}"/>',
        *_named_points([(row, shown.style(row, places)) for row, _ in points], at, y),
    ]
    n = len(rest) + len(front)
    return Figure(
        title="Cost against accuracy",
        note="Means over seeds. The line joins the methods that no other beats in both (Pareto "
        "front), bounds aside. Embedding time counts only in the first run; later runs use the "
        f"cache. The best {len(shown.best)} are in colour; names that found no room are under the "
        "pointer and in the table."
        + ("" if n == len(ranked) else f" {n} of {len(ranked)} methods are drawn.")
        + outside([(row.name, _accuracy(row)) for row, _ in points], y),
        svg=svg(f"Test accuracy against seconds, {len(points)} points", parts),
        head=("Selector", "Seconds", "Test accuracy, %", "On the front"),
        lines=tuple(
            (row.name, f"{s:.3g}", percent(_accuracy(row)),
             "bound" if row.bound else "yes" if i < len(front) else "no")
            for i, (row, s) in enumerate(points)
        ),
    )  # fmt: skip


def histogram_figures(board: Board) -> Figure | None:
    """Draw the scores of clean and of mislabelled samples, a small plot per selector."""
    have = [
        (row, histogram)
        for row in board.rows
        if row.rank is not None and (histogram := mean_histogram(finished(row)))
    ]
    if not have:
        return None
    shown = have[:MOST_HISTOGRAMS]
    n_columns = min(6, max(3, len(shown)))
    cell_w, cell_h = WIDTH / 6, 128.0
    parts = []
    for i, (row, histogram) in enumerate(shown):
        left, top = (i % n_columns) * cell_w, (i // n_columns) * cell_h
        parts.append(
            f'<g transform="translate({left:g} {top:g})">{_histogram(row.name, *histogram)}</g>'
        )
    height = cell_h * -(-len(shown) // n_columns)
    part = "" if len(shown) == len(have) else f" The best {len(shown)} of {len(have)} are drawn."
    return Figure(
        title="Scores of clean and mislabelled samples",
        note="Blue (up): clean, orange (down): mislabelled. Samples per bin, mean over seeds; each "
        "side is scaled to its own tallest bin, whose number of samples is on the left. The "
        "horizontal axis is the score, higher means cleaner; every method has its own "
        f"scale.{part}",
        svg=svg(f"Score histograms of {len(shown)} methods, clean and mislabelled", parts, WIDTH,
                height),
        head=("Selector", "Clean: quartiles of the score", "Mislabelled: quartiles of the score"),
        lines=tuple((row.name, _quartiles(e, c), _quartiles(e, n)) for row, (e, c, n) in shown),
    )  # fmt: skip


def rank_figure(across: Across) -> Figure | None:
    """Draw the critical difference diagram: average ranks, and groups without a difference."""
    distance = across.critical_difference
    if distance is None or len(across.ranks) < 2:
        return None
    drawn = across.ranks[:MOST_RANKS]
    left, right, top = 240.0, 900.0, 52.0
    bottom = top + _LINE * len(drawn)
    x = Scale(1.0, float(max(len(across.ranks), 2)), left, right, whole=True, most=12)
    parts = _rank_axis(x, top, bottom, distance)
    order = {place.name: i for i, place in enumerate(drawn)}
    for i, place in enumerate(drawn):
        y = top + _LINE * (i + 0.5)
        low, high = x(place.rank - distance / 2), x(place.rank + distance / 2)
        parts.append(
            f'<g class="series {style(0)}">{text(left - 12, y + 4, place.name, "lb end")}'
            f'<path class="bar" d="M{low:g} {y:g}H{high:g}"/>{marker(0, x(place.rank), y)}</g>'
        )
    parts += _group_bars(across, order, right + 14, top)
    part = (
        ""
        if len(drawn) == len(across.ranks)
        else (f" The best {len(drawn)} of {len(across.ranks)} are drawn.")
    )
    return Figure(
        title="Average rank and critical difference",
        note="Dot: average rank over the boards. Two methods whose lines (half the critical "
        "difference to each side) do not overlap differ at 0.05 by Nemenyi's test; a bar on the "
        f"right joins methods that are not significantly different.{part}",
        svg=svg(f"Critical difference diagram, {len(drawn)} methods", parts, WIDTH, bottom + 8),
        head=("Selector", "Average rank"),
        lines=tuple((place.name, f"{place.rank:.2f}") for place in across.ranks),
    )  # fmt: skip


def _accuracy(row: Row) -> float:
    return row.stats[RANKED_BY].mean


def _named_points(
    rows: Sequence[tuple[Row, int | str]], at: Sequence[tuple[float, float]], y: Scale
) -> list[str]:
    """Draw points with names where there is room; the others have theirs under the pointer.

    Those in colour are asked first, and are in front.
    """
    taken: list[_Box] = [(a - 6, y(b) - 6, a + 6, y(b) + 6) for a, b in at]
    parts = []
    for i in sorted(range(len(rows)), key=lambda i: rows[i][1] == OTHER):
        (row, kind), (a, b) = rows[i], at[i]
        width = _CHARACTER * len(shorten(row.name, NAME_LENGTH))
        spot = _free_spot(a, y(b), width, taken)
        label = f"<title>{escape(shorten(row.name, 200))}</title>"
        if spot is not None:
            label += text(spot[0], spot[3] - 3, row.name, "lb")
            taken.append(spot)
        mark = point(kind, a, b, y)
        parts.append(f'<g class="series {style(kind)}">{label}{mark}</g>')
    return parts[::-1]


def _free_spot(a: float, b: float, width: float, taken: Sequence[_Box]) -> _Box | None:
    """Find room for a name right, left, above or below a point, then off its corners."""
    starts = [
        (a + 8, b - 7),
        (a - 8 - width, b - 7),
        (a - width / 2, b - 21),
        (a - width / 2, b + 7),
        *(
            (left, top)
            for top in (b - 21, b + 7, b - 35, b + 21)
            for left in (a + 4, a - 4 - width)
        ),
    ]
    for left, top in starts:
        box = (left, top, left + width, top + 14)
        inside = left >= LEFT and box[2] <= WIDTH and top >= TOP - 8 and box[3] <= BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            return box
    return None


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _histogram(name: str, edges: _Array, clean: _Array, noisy: _Array) -> str:
    """Draw one small plot: clean upwards, noisy downwards from one line."""
    left, right, middle, tall = 40.0, 168.0, 62.0, 36.0
    x = Scale(float(edges[0]), float(edges[-1]), left, right)
    return "".join((
        text(left, 16, name, "lb", 20),
        f'<path class="clean" d="{_area(x, edges, clean, middle, -tall)}"/>',
        f'<path class="noisy" d="{_area(x, edges, noisy, middle, tall)}"/>',
        f'<path class="axis" d="M{left:g} {middle - tall:g}h-4h4v{2 * tall:g}h-4'
        f'M{left:g} {middle:g}H{right:g}M{left:g} {middle + tall:g}v4M{right:g} {middle:g}v4"/>',
        text(left - 6, middle - tall + 5, _count(float(clean.max())), "tl end"),
        text(left - 6, middle + tall + 3, _count(float(noisy.max())), "tl end"),
        text(left, middle + tall + 18, _end(edges, 0), "tl"),
        text(right, middle + tall + 18, _end(edges, -1), "tl end"),
    ))  # fmt: skip


def _count(n: float) -> str:
    """Return a number of samples in four characters or so."""
    return f"{n:.0f}" if n < 9999.5 else f"{n / 1000:.1f}k"


def _area(x: Scale, edges: _Array, counts: _Array, base: float, height: float) -> str:
    y = Scale(0.0, float(counts.max()) or 1.0, base, base + height)
    steps = "".join(
        f"V{y(float(count)):g}H{x(float(edge)):g}"
        for count, edge in zip(counts, edges[1:], strict=True)
    )
    return f"M{x(float(edges[0])):g} {base:g}{steps}V{base:g}z"


def _end(edges: _Array, which: int) -> str:
    """Print an end of a score axis, no finer than a hundredth of its range."""
    step = 10.0 ** np.floor(np.log10(float(edges[-1] - edges[0]) / 10))
    return f"{np.round(float(edges[which]) / step) * step + 0.0:.4g}".replace("-", "−")


def _quartiles(edges: _Array, counts: _Array) -> str:
    values = quantiles(edges, counts, (0.25, 0.5, 0.75))
    return "–" if values is None else " / ".join(f"{value:.3g}" for value in values)


def _group_bars(across: Across, order: Mapping[str, int], left: float, top: float) -> list[str]:
    """Draw a bar per group, each in its own column, along its rows."""
    parts = []
    for column, group in enumerate(across.groups):
        rows = [order[name] for name in group if name in order]
        if len(rows) > 1:
            a, b = top + _LINE * (rows[0] + 0.2), top + _LINE * (rows[-1] + 0.8)
            parts.append(f'<path class="group" d="M{left + 9 * column:g} {a:g}V{b:g}"/>')
    return parts


def _rank_axis(x: Scale, top: float, bottom: float, distance: float) -> list[str]:
    grid = "".join(f"M{x(tick):g} {top:g}V{bottom:g}" for tick in x.ticks())
    end = x(min(x.low + distance, x.high))
    return [
        f'<path class="grid" d="{grid}"/>',
        *(text(x(tick), top - 6, tick_text(tick, percent=False), "tl mid") for tick in x.ticks()),
        f'<path class="cd" d="M{x.start:g} 18v8m0-4H{end:g}m0-4v8"/>',
        text(x.start, 12, f"critical difference {distance:.2f}", "tl", 60),
        text(x.start - 12, top - 6, "average rank", "at end", 60),
    ]
