"""The pictures of a run's page as inline SVG and tables: curves, histogram, matrix.

Written as text and not in the template, because a page has hundreds of marks and there may be
thousands of pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup, escape

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.figures.scale import Scale

WIDTH, HEIGHT = 280, 96
_PAD = 4
_HISTOGRAM_WIDTH, _BAR_HEIGHT = 600, 56
_SHADES = 10


@dataclass(frozen=True)
class Curve:
    """One learning curve: its SVG, and what it shows in words."""

    name: str
    svg: Markup
    words: str


def learning_curves(curves: Mapping[str, Sequence[float | None]]) -> list[Curve]:
    """Return a picture per curve that has at least one value."""
    return [
        _curve(name, points, len(values))
        for name, values in curves.items()
        if (points := [(e, v) for e, v in enumerate(values, start=1) if _is_number(v)])
    ]


def histogram(counts: Mapping[str, Sequence[float]]) -> Markup | None:
    """Draw the scores of clean and noisy samples, one above the other; None without a histogram.

    Counts are drawn as shares of their group, so that a small group is visible.
    """
    edges = counts.get("edges", [])
    names = [name for name in ("clean", "noisy", "all") if counts.get(name)]
    groups = {name: counts[name] for name in names if len(counts[name]) == len(edges) - 1}
    if not groups or not all(_is_number(x) for values in counts.values() for x in values):
        return None
    if edges[-1] <= edges[0]:
        return None
    shares = {name: [c / (sum(values) or 1) for c in values] for name, values in groups.items()}
    top = max(max(values) for values in shares.values()) or 1.0
    parts = [_bars(name, values, top, i) for i, (name, values) in enumerate(shares.items())]
    height = 74 * len(parts) + 18
    ends = (
        f'<text class="start" x="0" y="{height - 4}">{edges[0]:.3g}</text>'
        f'<text class="end" x="600" y="{height - 4}">{edges[-1]:.3g}</text>'
        f'<text x="300" y="{height - 4}">score, higher = cleaner</text>'
    )
    words = "; ".join(_where(name, groups[name], edges) for name in groups)
    return Markup(  # noqa: S704 - names are escaped, the rest are numbers
        f'<svg class="hist" viewBox="0 0 600 {height}" role="img" '
        f'aria-label="Scores. {words}">{"".join(parts)}{ends}</svg>'
    )


def matrix(
    values: Sequence[Sequence[float]], names: Sequence[str], caption: str, as_percent: bool
) -> Markup:
    """Return a (K, K) matrix as a table, shaded by the share of its row.

    Args:
        values: Shares in [0, 1], or counts.
        names: K class names.
        caption: What it shows; says what rows and columns are.
        as_percent: Whether the values are shares, to be printed in percent.
    """
    heads = [escape(shorten(name, 18)) for name in names]
    top = "".join(f'<th scope="col"><span>{head}</span></th>' for head in heads)
    lines = []
    for head, row in zip(heads, values, strict=False):
        whole = 1.0 if as_percent else (sum(row) or 1.0)
        cells = "".join(_cell(value, value / whole, as_percent) for value in row)
        lines.append(f'<tr><th scope="row">{head}</th>{cells}</tr>')
    return Markup(  # noqa: S704 - names are escaped, the rest are numbers
        f'<table class="heat"><caption>{escape(caption)}</caption><thead><tr><td></td>{top}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _cell(value: float, share: float, as_percent: bool) -> str:
    shade = min(_SHADES, math.ceil(share * _SHADES)) if share > 0 else 0
    if not value:
        return '<td class="h0">0</td>'
    text = f"{100 * value:.{0 if value >= 0.0995 else 1}f}" if as_percent else f"{value:g}"
    return f'<td class="h{shade}">{text}</td>'


def _curve(name: str, points: list[tuple[int, float]], n_epochs: int) -> Curve:
    values = [value for _, value in points]
    low, high = min(values), max(values)
    x = Scale(1, n_epochs, _PAD, WIDTH - _PAD)
    y = Scale(low, high, HEIGHT - _PAD, _PAD)
    places = [f"{x(epoch):g},{y(value):g}" for epoch, value in points]
    end_x, end_y = places[-1].split(",")
    words = (
        f"epoch {points[0][0]}: {values[0]:.4g}; epoch {points[-1][0]}: {values[-1]:.4g}; "
        f"lowest {low:.4g}, highest {high:.4g}"
    )
    svg = Markup(  # noqa: S704 - as above
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="'
        f'{escape(shorten(name, 60))}: {words}"><path class="frame" d="M0 0V{HEIGHT}H{WIDTH}"/>'
        f'<polyline class="ci" points="{" ".join(places)}"/>'
        f'<circle class="dot" cx="{end_x}" cy="{end_y}" r="2.5"/></svg>'
    )
    return Curve(name, svg, words)


def _bars(name: str, shares: Sequence[float], top: float, row: int) -> str:
    base = 74 * row + 72
    x = Scale(0, len(shares), 0, _HISTOGRAM_WIDTH)
    y = Scale(0, top, 0, _BAR_HEIGHT)
    bars = "".join(
        f'<rect x="{x(i):g}" y="{base - y(share):g}" width="{max(x(i + 1) - x(i) - 1, 0.5):g}" '
        f'height="{y(share):g}"/>'
        for i, share in enumerate(shares)
        if share
    )
    label = f'<text class="start" x="0" y="{base - 60}">{_label(name)}</text>'
    line = f'<path class="frame" d="M0 {base}H600"/>'
    return f'<g class="{name}">{label}{bars}{line}</g>'


def _label(name: str) -> str:
    return {"clean": "right labels", "noisy": "wrong labels", "all": "all labels"}[name]


def _where(name: str, counts: Sequence[float], edges: Sequence[float]) -> str:
    """Return in words where the middle half of a group is, by the edges of the bins."""
    total, seen = sum(counts), 0.0
    if not total:
        return f"{_label(name)}: none"
    quarter, three = edges[0], edges[-1]
    for i, count in enumerate(counts):
        if seen < total / 4 <= seen + count:
            quarter = edges[i]
        if seen < 3 * total / 4 <= seen + count:
            three = edges[i + 1]
        seen += count
    return f"{total:g} {_label(name)}, the middle half between {quarter:.3g} and {three:.3g}"


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
