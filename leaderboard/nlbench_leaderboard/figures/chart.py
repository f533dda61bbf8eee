"""The parts that figures are drawn from: axes, series, labels; all as SVG text.

Colours are classes (`s0` ... `s7`, see `style.css`), so that a figure follows the page from light
to dark. Series differ in colour, dashes *and* marker: colour alone is lost on readers who cannot
distinguish it, and in grey prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.figures.scale import Scale, tick_text

WIDTH, HEIGHT = 1080, 400
LEFT, RIGHT, TOP, BOTTOM = 60.0, 772.0, 14.0, 346.0
MOST_SERIES = 8
"""More lines than this cannot be distinguished: a figure draws the best ones in colour."""
N_COLOURS, N_DASHES, N_MARKERS = 8, 4, 5

NAME_LENGTH = 30
OTHER = "other"
"""The style of series without a colour and a name of their own."""

_GAP = 17.0
_MARKERS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "m-3.5-3.5h7v7h-7z",
    "m0-4.5l4.5 8h-9z",
    "m0-5l5 5-5 5-5-5z",
    "m0 4.5l4.5-8h-9z",
)
_DOWN, _UP = "m-5-9h10l-5 9z", "m-5 9h10l-5-9z"


@dataclass(frozen=True)
class Figure:
    """A drawing with a title and a note, and its numbers as a table.

    `svg` has a text alternative for screen readers.
    """

    title: str
    note: str
    svg: Markup
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Series:
    """One line of a figure: `style` is its number among the styles, or `upper`, `lower`, `other`.

    Attributes:
        points: (x, y) in the units of the axes.
        spread: (low, high) of each point, or None.
        as_band: Draw the spread as an area rather than as bars.
        marked: Indices of points with a marker.
        extra: More of the series, as SVG.
        apart: Shift to the right, in units of the drawing, so that bars do not overlap.
        value: What is printed after the name at the end of the line.
        level: Where the name is, by the y axis, instead of at the end of the line.
    """

    name: str
    style: int | str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float] | None] = ()
    as_band: bool = False
    marked: Sequence[int] = ()
    apart: float = 0.0
    extra: str = ""
    value: str = ""
    level: float | None = None


def svg(label: str, parts: Sequence[str], width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """Return a drawing of these parts, which must be escaped already."""
    head = f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" '
    # Every part is made in this package from numbers and from text that `text` escaped.
    return Markup(f'{head}aria-label="{escape(label)}">{"".join(parts)}</svg>')  # noqa: S704


def text(x: float, y: float, content: str, css: str, most: int = NAME_LENGTH) -> str:
    """Return escaped text; a longer one is cut and shown in full under the pointer."""
    short = shorten(content, most)
    whole = f"<title>{escape(shorten(content, 200))}</title>" if short != content else ""
    return f'<text class="{css}" x="{x:g}" y="{y:g}">{whole}{escape(short)}</text>'


def axes(x: Scale, y: Scale, x_title: str, y_title: str, percent: str = "xy") -> list[str]:
    """Return grid lines, ticks and titles; `percent` names axes whose shares are percent."""
    left, right, top, bottom = x.start, x.end, y.end, y.start
    grid = "".join(f"M{left:g} {y(tick):g}H{right:g}" for tick in y.ticks())
    ticks = "".join(f"M{x(tick):g} {bottom:g}v5" for tick in x.ticks())
    parts = [
        f'<path class="grid" d="{grid}"/>',
        f'<path class="axis" d="M{left:g} {top:g}V{bottom:g}H{right:g}{ticks}"/>',
    ]
    parts += [text(left - 8, y(t) + 4, tick_text(t, "y" in percent), "tl end") for t in y.ticks()]
    parts += [text(x(t), bottom + 20, tick_text(t, "x" in percent), "tl mid") for t in x.ticks()]
    parts.append(text((left + right) / 2, bottom + 44, x_title, "at mid", 80))
    middle = (top + bottom) / 2
    parts.append(
        f'<text class="at mid" transform="translate(14 {middle:g}) rotate(-90)">'
        f"{escape(y_title)}</text>"
    )
    return parts


def lines(series: Sequence[Series], x: Scale, y: Scale) -> list[str]:
    """Draw series, each with its name at its right end; names never overlap.

    Those without a style of their own are behind the others and have their name under the pointer.
    What is outside of the axis is cut off, and an arrow at the border says where.
    """
    named = [one for one in series if one.style != OTHER]
    levels = [s.points[-1][1] if s.level is None else s.level for s in named]
    heights = spread_out([y(level) for level in levels], y.end, y.start)
    column = x.end + 18
    parts = [
        f'<g class="series {OTHER}"><title>{escape(shorten(one.name, 200))}</title>'
        f"{_line(one, x, y)}</g>"
        for one in series
        if one.style == OTHER
    ]
    parts += [
        f'<g class="series {style(one.style)}">{_spread(one, x, y)}{_line(one, x, y)}'
        f"{_tie(one, x, y, column, height)}{_key(one, column, height)}{one.extra}</g>"
        for one, height in zip(named, heights, strict=True)
    ]
    return parts


def style(place: int | str) -> str:
    """Return the classes of a series: colour and dashes, a pair for each of 32 numbers."""
    if isinstance(place, str):
        return place
    return f"s{place % N_COLOURS} d{place // N_COLOURS % N_DASHES}"


def marker(place: int | str, x: float, y: float, css: str = "mk") -> str:
    """Draw the marker of a series; bounds have a dash. Colour and shape: a pair for each of 40."""
    if place == OTHER:
        shape = _MARKERS[0]
    else:
        shape = "m-4 0h8" if isinstance(place, str) else _MARKERS[_shape(place)]
    return f'<path class="{css}" d="M{x:g} {y:g}{shape}"/>'


def point(place: int | str, x: float, value: float, y: Scale, css: str = "mk") -> str:
    """Draw a marker at a value, or an arrow at the border of the axis that it is outside of."""
    if y.holds(value):
        return marker(place, x, y(value), css)
    shape = _DOWN if value < y.low else _UP
    return f'<path class="mk out" d="M{x:g} {y(value):g}{shape}"/>'


def outside(named: Iterable[tuple[str, float]], y: Scale) -> str:
    """Return the sentence that names what is outside of the axis, with its share in percent."""
    texts = [f"{shorten(name, NAME_LENGTH)} ({100 * value:.1f} %)"
             for name, value in named if not y.holds(value)]  # fmt: skip
    if not texts:
        return ""
    return f" Outside of the axis, shown by an arrow: {', '.join(texts)}."


def spread_out(positions: Sequence[float], top: float, bottom: float) -> list[float]:
    """Return the positions moved as little as needed to be `_GAP` apart, between top and bottom.

    >>> spread_out([50.0, 50.0, 99.0], 0.0, 100.0)
    [50.0, 67.0, 99.0]
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(positions[i], placed[-1] + _GAP if placed else top))
    limit = max(bottom, top + _GAP * (len(placed) - 1))
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - _GAP
    result = [0.0] * len(positions)
    for k, i in enumerate(order):
        result[i] = round(placed[k], 1)
    return result


def pieces(points: Sequence[tuple[float, float]], low: float, high: float,
           ) -> list[list[tuple[float, float]]]:  # fmt: skip
    """Return the parts of a polyline whose y is in [low, high], cut where it crosses an end.

    >>> pieces([(0.0, 0.0), (1.0, 2.0), (2.0, 2.0)], 1.0, 3.0)
    [[(0.5, 1.0), (1.0, 2.0), (2.0, 2.0)]]
    """
    parts: list[list[tuple[float, float]]] = [[]]
    before: tuple[float, float] | None = None
    for one in points:
        if before is not None:
            for crossing in _crossings(before, one, low, high):
                parts[-1].append(crossing)
                # On the way out a part ends; on the way in the new part begins with the crossing.
                if len(parts[-1]) > 1:
                    parts.append([])
        if low <= one[1] <= high:
            parts[-1].append(one)
        elif parts[-1]:
            parts.append([])
        before = one
    return [part for part in parts if len(part) > 1]


def _crossings(
    a: tuple[float, float], b: tuple[float, float], low: float, high: float
) -> list[tuple[float, float]]:
    """Return where the way from a to b crosses an end, in order; touching is not crossing."""
    ends = [end for end in (low, high) if (a[1] - end) * (b[1] - end) < 0]
    shares = sorted((end - a[1]) / (b[1] - a[1]) for end in ends)
    return [(a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1])) for s in shares]


def _shape(place: int) -> int:
    return (place + place // N_COLOURS) % N_MARKERS


def _tie(one: Series, x: Scale, y: Scale, to_x: float, to_y: float) -> str:
    if one.level is not None:
        return ""
    end_x, end_y = x(one.points[-1][0]) + one.apart, y(one.points[-1][1])
    return f'<path class="tie" d="M{end_x + 6:g} {end_y:g}L{to_x:g} {to_y:g}"/>'


def _key(one: Series, x: float, y: float) -> str:
    """Return the name of a series after a piece of its line, since the ends of lines may meet."""
    mark = "" if isinstance(one.style, str) else marker(one.style, x + 12, y)
    sample = f'<path class="ln" d="M{x:g} {y:g}h24"/>'
    value = text(WIDTH - 2, y + 4, one.value, "tl end") if one.value else ""
    return f"{sample}{mark}{text(x + 30, y + 4, one.name, 'lb')}{value}"


def _line(one: Series, x: Scale, y: Scale) -> str:
    shown = pieces(one.points, y.low, y.high)
    path = "".join(
        "M" + "L".join(f"{round(x(a) + one.apart, 1):g} {y(b):g}" for a, b in part)
        for part in shown
    )
    at = [(round(x(a) + one.apart, 1), b) for a, b in one.points]
    ends = set() if y.holds(at[-1][1]) or one.level is not None else {len(at) - 1}
    marks = "".join(point(one.style, *at[i], y) for i in sorted({*one.marked, *ends}))
    return (f'<path class="ln" d="{path}"/>' if path else "") + marks


def _spread(one: Series, x: Scale, y: Scale) -> str:
    bars = [(x(p[0]) + one.apart, y(s[0]), y(s[1]))
            for p, s in zip(one.points, one.spread, strict=False)
            if s and s[0] < y.high and s[1] > y.low]  # fmt: skip
    if not bars:
        return ""
    if not one.as_band:
        path = "".join(f"M{a:g} {low:g}V{high:g}" for a, low, high in bars)
        return f'<path class="bar" d="{path}"/>'
    lower = "L".join(f"{a:g} {low:g}" for a, low, _ in bars)
    upper = "L".join(f"{a:g} {high:g}" for a, _, high in reversed(bars))
    return f'<path class="band" d="M{lower}L{upper}z"/>'
