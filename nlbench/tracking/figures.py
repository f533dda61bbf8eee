"""The two pictures of a run: where the noise goes, and how well the scores separate it.

Written as SVG, text by text: a plotting library takes as long for these two as a small run takes
to train an epoch, most of it for measuring letters. Names are data: they are escaped, and nothing
in them is a formula. Lengths are in pixels, positions from the top left corner.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from nlbench.results.record import RunRecord

MAX_CLASSES_WITH_TEXT = 15
MAX_TICKS = 25
MAX_NAME = 16
TOP = 58.0

# Okabe and Ito's blue and vermilion: told apart with any colour vision, and in grey by the hatch.
CLEAN_COLOUR, NOISY_COLOUR = "#0072B2", "#D55E00"
_INK, _GREY, _RULE = "#222222", "#555555", "#b8b8b8"
# From nothing to all, evenly lighter to darker; between them colours are mixed.
_SHADES = ((247, 251, 255), (107, 174, 214), (8, 48, 107))
_STEPS = 64
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def transition_matrix_svg(record: RunRecord) -> str:
    """Draw P(noisy label | clean label) in percent, a row per clean class.

    Args:
        record: A run whose noise has a transition matrix.

    Returns:
        An SVG document; cells carry numbers up to 15 classes.

    Raises:
        ValueError: if the record has no transition matrix.
    """
    matrix = record.noise.transition_matrix
    if not matrix:
        raise ValueError("the record has no transition matrix")
    n, names = len(matrix), record.dataset.class_names
    ticks = range(0, n, math.ceil(n / MAX_TICKS))
    labels = {i: _short(names[i] if i < len(names) else str(i)) for i in ticks}
    longest, subtitle = max(map(_width, labels.values())), _subtitle(record)
    upright = max(map(len, labels.values())) > 2
    cell = max(320.0, min(108 + 50.0 * n, 760.0)) / n
    left, side = 44 + longest, n * cell
    below = longest if upright else 12.0
    parts = [
        *_title(left, "Where the labels went", subtitle),
        *_cells(matrix, left, cell),
        *(_numbers(matrix, left, cell) if n <= MAX_CLASSES_WITH_TEXT else ()),
        _box(left, TOP, side, side),
        *_class_names(labels, left, cell, side, upright),
        _text(left + side / 2, TOP + side + below + 34, "noisy label", 13, "middle"),
        _text(18, TOP + side / 2, "clean label", 13, "middle", turned=True),
        *_colour_bar(left + side + 18, side),
    ]
    width = left + max(side + 104, _width(subtitle))
    return _document(width, TOP + side + below + 46, parts)


def score_histogram_svg(record: RunRecord) -> str:
    """Draw the scores of clean and of noisy samples, each group in percent of its size.

    Where the clean labels are not known, all samples are one group.

    Args:
        record: With a score histogram: ``edges``, and ``clean`` and ``noisy`` or ``all``.

    Returns:
        An SVG document; the groups' sizes are in the legend.

    Raises:
        ValueError: if the histogram is missing or its lengths do not fit.
    """
    histogram = record.score_histogram
    edges = histogram.get("edges", [])
    names = ("all",) if "all" in histogram else ("clean", "noisy")
    groups = {name: histogram.get(name, []) for name in names}
    if len(edges) < 2 or any(len(counts) != len(edges) - 1 for counts in groups.values()):
        raise ValueError("the score histogram needs B + 1 edges and B counts per group")
    shares = {name: _shares(counts) for name, counts in groups.items()}
    top = 1.06 * max([1e-9, *(share for values in shares.values() for share in values)])
    x, y = _Scale(edges[0], edges[-1], 70, 770), _Scale(0, top, 430, TOP + 4)
    sizes = {name: int(sum(counts)) for name, counts in groups.items()}
    parts = [
        *_title(x.start, f"Scores of {_short(record.label, 48)}", _subtitle(record)),
        *_axes(x, y),
        *(_steps(edges, values, x, y, noisy=name == "noisy") for name, values in shares.items()),
        *_legend(sizes, _emptier_side(shares, x)),
        _text((x.start + x.end) / 2, y.start + 44, "score (higher = cleaner)", 13, "middle"),
        _text(18, (y.start + y.end) / 2, "share of the group, %", 13, "middle", turned=True),
    ]
    return _document(800, y.start + 58, parts)


class _Scale:
    """From values to pixels; `low` is at `start`, `high` at `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + (self.end - self.start) * part

    def ticks(self) -> Iterator[float]:
        """Return four to nine round values between the ends."""
        span = self.high - self.low
        if not math.isfinite(span) or span <= 0:
            yield self.low
            return
        rough = 10.0 ** math.floor(math.log10(span))
        step = next(rough * m for m in (0.1, 0.2, 0.25, 0.5, 1, 2) if span / (rough * m) <= 8)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        yield from (number * step for number in range(first, last + 1))


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [100 * count / total if total else 0.0 for count in counts]


def _axes(x: _Scale, y: _Scale) -> Iterator[str]:
    for value in y.ticks():
        at = f"{y(value):.1f}"
        yield f'<path d="M{x.start:.1f} {at}H{x.end:.1f}" stroke="{_RULE}" stroke-opacity=".5"/>'
        yield _text(x.start - 8, y(value) + 4, f"{value:.6g}", 12, "end")
    for value in x.ticks():
        yield f'<path d="M{x(value):.1f} {y.start:.1f}v5" stroke="{_RULE}"/>'
        yield _text(x(value), y.start + 20, f"{value:.6g}", 12, "middle")
    corner = f"M{x.start:.1f} {y.end:.1f}V{y.start:.1f}H{x.end:.1f}"
    yield f'<path d="{corner}" fill="none" stroke="{_RULE}"/>'


def _steps(
    edges: Sequence[float], shares: Sequence[float], x: _Scale, y: _Scale, *, noisy: bool
) -> str:
    """Return one group as an outline with a filling that lets the other group through."""
    line = f"M{x(edges[0]):.1f} {y.start:.1f}" + "".join(
        f"V{y(share):.1f}H{x(edge):.1f}" for share, edge in zip(shares, edges[1:], strict=True)
    )
    return f'<path d="{line}V{y.start:.1f}z" {_style(noisy=noisy)}/>'


def _style(*, noisy: bool) -> str:
    colour = NOISY_COLOUR if noisy else CLEAN_COLOUR
    filling = 'fill="url(#noisy)"' if noisy else f'fill="{colour}" fill-opacity=".33"'
    return f'{filling} stroke="{colour}" stroke-width="2"'


def _emptier_side(shares: dict[str, list[float]], x: _Scale) -> float:
    """Return where a legend hides least: left or right."""
    third = max(len(values) for values in shares.values()) // 3 or 1
    left = max(max(values[:third]) for values in shares.values())
    right = max(max(values[-third:]) for values in shares.values())
    return x.start + 14 if left <= right else x.end - 160


def _legend(sizes: dict[str, int], left: float) -> Iterator[str]:
    height = 28 + 24 * len(sizes)
    yield f'<rect x="{left - 8:.1f}" y="{TOP + 5:.1f}" width="166" height="{height}" '
    yield 'fill="#ffffff" fill-opacity=".85"/>'
    yield _text(left, TOP + 20, "label", 13)
    for row, (name, size) in enumerate(sizes.items()):
        y = TOP + 32 + 24 * row
        yield f'<rect x="{left:.1f}" y="{y:.1f}" width="28" height="13" '
        yield f"{_style(noisy=name == 'noisy')}/>"
        yield _text(left + 38, y + 11, f"{name}, n = {size}", 13)


def _cells(matrix: Sequence[Sequence[float]], left: float, cell: float) -> Iterator[str]:
    """Return the cells as rectangles, neighbours of one colour in a row as one."""
    yield '<g shape-rendering="crispEdges">'
    for i, row in enumerate(matrix):
        start = 0
        for colour, run in groupby(map(_shade, row)):
            n = len(list(run))
            yield (
                f'<rect x="{left + start * cell:.2f}" y="{TOP + i * cell:.2f}" '
                f'width="{n * cell:.2f}" height="{cell:.2f}" fill="{colour}"/>'
            )
            start += n
    yield "</g>"


def _shade(share: float) -> str:
    # The square root keeps 1 % visible beside a diagonal of 60 %.
    place = round(_STEPS * math.sqrt(min(max(share, 0.0), 1.0))) / _STEPS * (len(_SHADES) - 1)
    below = min(int(place), len(_SHADES) - 2)
    pairs = zip(_SHADES[below], _SHADES[below + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - below)):02x}" for a, b in pairs)


def _numbers(matrix: Sequence[Sequence[float]], left: float, cell: float) -> Iterator[str]:
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if value >= 0.0005:
                text = f"{100 * value:.1f}" if value < 0.0995 else f"{100 * value:.0f}"
                colour = "#ffffff" if value > 0.35 else _INK
                x, y = left + (j + 0.5) * cell, TOP + (i + 0.5) * cell + 4.5
                yield _text(x, y, text, 13, "middle", colour)


def _class_names(
    labels: dict[int, str], left: float, cell: float, side: float, upright: bool
) -> Iterator[str]:
    for i, label in labels.items():
        middle = (i + 0.5) * cell
        yield _text(left - 7, TOP + middle + 4, label, 12, "end")
        x, y = left + middle, TOP + side
        if upright:
            yield _text(x + 4, y + 7, label, 12, "end", turned=True)
        else:
            yield _text(x, y + 17, label, 12, "middle")


def _colour_bar(x: float, side: float) -> Iterator[str]:
    n = _STEPS
    for k in range(n):
        y, shade = TOP + side * (n - 1 - k) / n, _shade((k / (n - 1)) ** 2)
        yield f'<rect x="{x:.1f}" y="{y:.2f}" width="22" height="{side / n + 0.5:.2f}" '
        yield f'fill="{shade}"/>'
    yield _box(x, TOP, 22, side)
    for percent in (0, 1, 5, 20, 50, 100):
        yield _text(x + 29, TOP + side * (1 - math.sqrt(percent / 100)) + 4, str(percent), 12)
    yield _text(x + 72, TOP + side / 2, "% of the clean class", 13, "middle", turned=True)


def _title(x: float, title: str, subtitle: str) -> Iterator[str]:
    yield _text(x, 26, title, 17)
    yield _text(x, 46, subtitle, 13, colour=_GREY)


def _subtitle(record: RunRecord) -> str:
    nominal = record.noise.nominal_rate
    asked = "" if nominal is None else f" {nominal:.0%}"
    realized = record.noise.realized_rate
    came_out = "noise not known" if realized is None else f"realized {realized:.1%}"
    return (
        f"{_short(record.dataset.name, 28)}, {_short(record.noise.kind, 24)}{asked}"
        f" ({came_out}), seed {record.seed}"
    )


def _text(
    x: float, y: float, text: str, size: int, anchor: str = "start", colour: str = _INK,
    *, turned: bool = False,
) -> str:  # fmt: skip
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}"{turn}>{escape(_NOT_XML.sub("�", text))}</text>'
    )


def _box(x: float, y: float, width: float, height: float) -> str:
    frame = f'width="{width:.1f}" height="{height:.1f}" fill="none" stroke="{_RULE}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {frame}/>'


def _document(width: float, height: float, parts: Sequence[str]) -> str:
    hatch = (
        '<defs><pattern id="noisy" width="7" height="7" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="7" height="7" fill="{NOISY_COLOUR}" '
        f'fill-opacity=".33"/><path d="M0 0V7" stroke="{NOISY_COLOUR}" stroke-width="2.4"/>'
        "</pattern></defs>"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    return "".join([head, hatch, *parts, "</svg>\n"])


def _width(text: str) -> float:
    """Return about how wide a text of size 12 is; East Asian letters are square."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return 12.0 * wide + 7.2 * (len(text) - wide)


def _short(text: str, limit: int = MAX_NAME) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
