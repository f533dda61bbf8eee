"""The parts that figures are drawn from: axes, series, labels; all as SVG text.

Colours are classes (`s0` ... `s7`, see `style.css`), so that a figure follows the page from light
to dark. Series differ in colour, dashes *and* marker: colour alone is lost on readers who cannot
distinguish it, and in grey prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.figures.scale import Scale, tick_text

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 46.0, 306.0, 12.0, 256.0
MOST_SERIES = 8
"""More lines than this cannot be distinguished; a figure draws the first ones and says so."""
N_COLOURS, N_DASHES, N_MARKERS = 8, 4, 5

NAME_LENGTH = 18

_GAP = 15.0
_MARKERS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "m-3.5-3.5h7v7h-7z",
    "m0-4.5l4.5 8h-9z",
    "m0-5l5 5-5 5-5-5z",
    "m0 4.5l4.5-8h-9z",
)


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
    """One line of a figure: `style` is its place among the styles, or `upper` or `lower`.

    Attributes:
        points: (x, y) in the units of the axes.
        spread: (low, high) of each point, or None.
        as_band: Draw the spread as an area rather than as bars.
        marked: Indices of points with a marker.
        extra: More of the series, as SVG.
        apart: Shift to the right, in units of the drawing, so that bars do not overlap.
    """

    name: str
    style: int | str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float] | None] = ()
    as_band: bool = False
    marked: Sequence[int] = ()
    apart: float = 0.0
    extra: str = ""


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
    """Return grid lines, tick labels and titles; `percent` names axes whose shares are percent."""
    left, right, top, bottom = x.start, x.end, y.end, y.start
    parts = [f'<path class="axis" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>']
    grid = "".join(f"M{left:g} {y(tick):g}H{right:g}" for tick in y.ticks())
    parts.append(f'<path class="grid" d="{grid}"/>')
    parts += [text(left - 6, y(t) + 4, tick_text(t, "y" in percent), "tl end") for t in y.ticks()]
    parts += [text(x(t), bottom + 16, tick_text(t, "x" in percent), "tl mid") for t in x.ticks()]
    parts.append(text((left + right) / 2, bottom + 36, x_title, "at mid", 60))
    middle = (top + bottom) / 2
    parts.append(
        f'<text class="at mid" transform="translate(12 {middle:g}) rotate(-90)">'
        f"{escape(y_title)}</text>"
    )
    return parts


def lines(series: Sequence[Series], x: Scale, y: Scale) -> list[str]:
    """Draw series, each with its name at its right end; names never overlap."""
    ends = [(x(s.points[-1][0]) + s.apart, y(s.points[-1][1])) for s in series]
    heights = spread_out([end[1] for end in ends], y.end, y.start)
    column = x.end + 14
    parts = []
    for one, (end_x, end_y), label_y in zip(series, ends, heights, strict=True):
        leader = f"M{end_x + 5:g} {end_y:g}L{column:g} {label_y:g}"
        parts.append(
            f'<g class="series {style(one.style)}">{_spread(one, x, y)}{_line(one, x, y)}'
            f'<path class="tie" d="{leader}"/>'
            f"{_key(one, column, label_y)}{one.extra}</g>"
        )
    return parts


def style(place: int | str) -> str:
    """Return the classes of a series: colour and dashes."""
    return place if isinstance(place, str) else f"s{place % N_COLOURS} d{place % N_DASHES}"


def marker(place: int | str, x: float, y: float, css: str = "mk") -> str:
    """Draw the marker of a series; bounds have a dash."""
    shape = "m-4 0h8" if isinstance(place, str) else _MARKERS[place % N_MARKERS]
    return f'<path class="{css}" d="M{x:g} {y:g}{shape}"/>'


def spread_out(positions: Sequence[float], top: float, bottom: float) -> list[float]:
    """Return the positions moved as little as needed to be `_GAP` apart, between top and bottom.

    >>> spread_out([50.0, 50.0, 99.0], 0.0, 100.0)
    [50.0, 65.0, 99.0]
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


def _key(one: Series, x: float, y: float) -> str:
    """Return the name of a series after a piece of its line, since the ends of lines may meet."""
    mark = "" if isinstance(one.style, str) else marker(one.style, x + 10, y)
    sample = f'<path class="ln" d="M{x:g} {y:g}h20"/>'
    return f"{sample}{mark}{text(x + 24, y + 4, one.name, 'lb')}"


def _line(one: Series, x: Scale, y: Scale) -> str:
    at = [(round(x(a) + one.apart, 1), y(b)) for a, b in one.points]
    path = "M" + "L".join(f"{a:g} {b:g}" for a, b in at)
    marks = "".join(marker(one.style, *at[i]) for i in one.marked)
    return f'<path class="ln" d="{path}"/>{marks}'


def _spread(one: Series, x: Scale, y: Scale) -> str:
    bars = [(x(p[0]) + one.apart, y(s[0]), y(s[1]))
             for p, s in zip(one.points, one.spread, strict=False) if s]  # fmt: skip
    if not bars:
        return ""
    if not one.as_band:
        path = "".join(f"M{a:g} {low:g}V{high:g}" for a, low, high in bars)
        return f'<path class="bar" d="{path}"/>'
    lower = "L".join(f"{a:g} {low:g}" for a, low, _ in bars)
    upper = "L".join(f"{a:g} {high:g}" for a, _, high in reversed(bars))
    return f'<path class="band" d="M{lower}L{upper}z"/>'
