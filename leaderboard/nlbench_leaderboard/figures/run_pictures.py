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
from nlbench_leaderboard.figures.scale import Scale, linear_ticks, tick_text

WIDTH, HEIGHT = 340, 176
_PAD, _LEFT, _BELOW = 6, 48, 36
_SHARES = ("accuracy", "fraction", "f1", "share", "rate")
"""Ends of the names of curves that are shares, printed in percent."""
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
    height = 74 * len(parts) + 34
    x = Scale(float(edges[0]), float(edges[-1]), 0, _HISTOGRAM_WIDTH)
    ends = (
        "".join(
            f'<text x="{x(tick):g}" y="{height - 20}">{tick_text(tick, percent=False)}</text>'
            for tick in linear_ticks(x.low, x.high)
        )
        + f'<text x="300" y="{height - 4}">score, higher = cleaner</text>'
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
    is_share = _is_share(name, low, high)
    x = Scale(1, max(n_epochs, 2), _LEFT, WIDTH - _PAD, most=6, whole=True)
    y = Scale(low, high if high > low else low + 1e-3, HEIGHT - _BELOW, _PAD, most=4)
    places = [f"{x(epoch):g},{y(value):g}" for epoch, value in points]
    end_x, end_y = places[-1].split(",")
    shown = [_number(v, is_share) for v in (values[0], values[-1], low, high)]
    words = (
        f"epoch {points[0][0]}: {shown[0]}; epoch {points[-1][0]}: {shown[1]}; "
        f"lowest {shown[2]}, highest {shown[3]}"
    )
    svg = Markup(  # noqa: S704 - as above
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="'
        f'{escape(shorten(name, 60))}: {words}">{_axes(x, y, is_share)}'
        f'<polyline class="ci" points="{" ".join(places)}"/>'
        f'<circle class="dot" cx="{end_x}" cy="{end_y}" r="2.5"/></svg>'
    )
    unit = ", %" if is_share else ""
    return Curve(name.replace("_", " ") + unit, svg, words)


def _axes(x: Scale, y: Scale, is_share: bool) -> str:
    bottom = HEIGHT - _BELOW
    marks = "".join(f"M{_LEFT} {y(tick):g}h-4" for tick in y.ticks())
    marks += "".join(f"M{x(tick):g} {bottom}v4" for tick in x.ticks())
    texts = [f'<text class="end" x="{_LEFT - 7}" y="{y(tick) + 4:g}">{tick_text(tick, is_share)}'
             "</text>" for tick in y.ticks()]  # fmt: skip
    texts += [f'<text x="{x(tick):g}" y="{bottom + 16}">{tick_text(tick, percent=False)}</text>'
              for tick in x.ticks()]  # fmt: skip
    texts.append(f'<text x="{(_LEFT + WIDTH) / 2:g}" y="{HEIGHT - 2}">epoch</text>')
    return f'<path class="frame" d="M{_LEFT} 0V{bottom}H{WIDTH}{marks}"/>{"".join(texts)}'


def _is_share(name: str, low: float, high: float) -> bool:
    return name.endswith(_SHARES) and low >= 0 and high <= 1


def _number(value: float, is_share: bool) -> str:
    return f"{100 * value:.2f} %" if is_share else f"{value:.4g}"


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
    label = (
        f'<text class="start" x="0" y="{base - 60}">{_label(name)}; '
        f"tallest bin: {100 * max(shares):.3g} % of them</text>"
    )
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
