"""The two pictures of a run: where the noise goes, and how well the scores separate it.

Figures are built without pyplot, so there is no global state and no display is needed.
matplotlib is imported inside the functions: it takes a second. Every text has a fixed place: a
layout engine, or matplotlib looking where titles and labels fit, draws all texts several times to
measure them, which was two thirds of what logging a run cost.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.results import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CLASSES_WITH_TEXT = 15
MAX_TICKS = 25
MAX_NAME = 16
TICK_SIZE = 9  # points
DPI = 120
PNG_LEVEL = 3  # a third of the time of zlib's default

# Okabe and Ito's blue and vermilion: told apart with any colour vision, and in grey by the hatch.
CLEAN_COLOUR, NOISY_COLOUR = "#0072B2", "#D55E00"
_INK, _RULE = "#222222", "#b8b8b8"


def transition_matrix_figure(record: RunRecord) -> Figure:
    """Draw P(noisy label | clean label) in percent, a row per clean class.

    Args:
        record: A run whose noise has a transition matrix.

    Returns:
        The figure; cells carry numbers up to 15 classes.

    Raises:
        ValueError: if the record has no transition matrix.
    """
    matrix = record.noise.transition_matrix
    if not matrix:
        raise ValueError("the record has no transition matrix")
    n, names = len(matrix), record.dataset.class_names
    ticks = list(range(0, n, math.ceil(n / MAX_TICKS)))
    labels = [_short(names[i] if i < len(names) else str(i)) for i in ticks]
    long_names = max(map(len, labels)) > 2
    width = _width(labels)
    side = min(max(3.1, 0.9 + 0.42 * n), 7.3)
    margins = _Margins(left=0.45 + width, bottom=0.45 + (width if long_names else 0.15), right=1.2)
    figure, axes = _figure(side, side, margins)
    _draw_matrix(figure, axes, matrix)
    axes.set_xticks(ticks, labels, parse_math=False)
    axes.tick_params(axis="x", labelrotation=90 if long_names else 0)
    axes.set_yticks(ticks, labels, parse_math=False)
    _name_axes(axes, "noisy label", "clean label", margins)
    _title(axes, "Where the labels went", _subtitle(record))
    if n <= MAX_CLASSES_WITH_TEXT:
        _write_cells(axes, matrix)
    return figure


def transition_matrix_png(record: RunRecord) -> bytes:
    """Give `transition_matrix_figure` as PNG; a sweep draws it once for all selectors."""
    key = f"{record.noise.model_dump_json()}{record.dataset.model_dump_json()}{record.seed}"
    return _matrix_png(_Matrix(key, record))


@dataclass(frozen=True)
class _Matrix:
    """All that the picture shows, as one text, and a record that has it."""

    key: str
    record: RunRecord = field(compare=False)


@lru_cache(maxsize=4)
def _matrix_png(matrix: _Matrix) -> bytes:
    png = io.BytesIO()
    _print(transition_matrix_figure(matrix.record), png)
    return png.getvalue()


def score_histogram_figure(record: RunRecord) -> Figure:
    """Draw the scores of clean and of noisy samples, each group in percent of its size.

    Where the clean labels are not known, all samples are one group.

    Args:
        record: With a score histogram: ``edges``, and ``clean`` and ``noisy`` or ``all``.

    Returns:
        The figure; the groups' sizes are in the legend.

    Raises:
        ValueError: if the histogram is missing or its lengths do not fit.
    """
    histogram = record.score_histogram
    edges = histogram.get("edges", [])
    names = ("all",) if "all" in histogram else ("clean", "noisy")
    groups = {name: histogram.get(name, []) for name in names}
    if len(edges) < 2 or any(len(counts) != len(edges) - 1 for counts in groups.values()):
        raise ValueError("the score histogram needs B + 1 edges and B counts per group")
    margins = _Margins(left=0.65, bottom=0.55, right=0.2)
    figure, axes = _figure(5.95, 2.9, margins)
    for name, counts in groups.items():
        noisy = name == "noisy"
        colour, hatch = (NOISY_COLOUR, "////") if noisy else (CLEAN_COLOUR, "")
        _bars(axes, edges, counts, name, colour, hatch)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    _name_axes(axes, "score (higher = cleaner)", "share of the group, %", margins)
    axes.grid(axis="y", color=_RULE, alpha=0.5, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, title="label", alignment="left")
    _title(axes, f"Scores of {_short(record.selector.label, 48)}", _subtitle(record))
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _print(figure, path)


def _print(figure: Figure, target: Path | io.BytesIO) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _boxes_for_missing_glyphs():
        # `savefig` draws everything twice, which doubles the cost of logging a run.
        FigureCanvasAgg(figure).print_png(
            target, metadata={"Software": None}, pil_kwargs={"compress_level": PNG_LEVEL}
        )


@contextmanager
def _boxes_for_missing_glyphs() -> Iterator[None]:
    """A class name in a script that the font lacks gives boxes, not a failed run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@dataclass(frozen=True)
class _Margins:
    """What lies around the axes, in inches."""

    left: float
    bottom: float
    right: float
    top: float = 0.65


def _figure(width: float, height: float, margins: _Margins) -> tuple[Figure, Axes]:
    """Give a figure whose axes are `width` x `height` inches, with margins around them."""
    from matplotlib.figure import Figure

    whole = (width + margins.left + margins.right, height + margins.bottom + margins.top)
    figure = Figure(figsize=whole, dpi=DPI)
    corner = (margins.left / whole[0], margins.bottom / whole[1])
    axes = figure.add_axes((*corner, width / whole[0], height / whole[1]))
    axes.tick_params(length=3, color=_RULE, labelcolor=_INK, labelsize=TICK_SIZE)
    for spine in axes.spines.values():
        spine.set_color(_RULE)
    return figure, axes


def _name_axes(axes: Axes, x: str, y: str, margins: _Margins) -> None:
    """Write the axes' names at the outer edge of the margins."""
    box, figure = axes.get_position(), axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - for the type checker: the axes were made with one
    width, height = figure.get_size_inches()
    axes.set_xlabel(x, verticalalignment="bottom")
    axes.set_ylabel(y, verticalalignment="top")
    axes.xaxis.set_label_coords(0.5, (0.08 - margins.bottom) / (height * box.height))
    axes.yaxis.set_label_coords((0.08 - margins.left) / (width * box.width), 0.5)


def _width(labels: Sequence[str]) -> float:
    """Give the width of the longest tick label in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=TICK_SIZE)
    with _boxes_for_missing_glyphs():
        sizes = [text_to_path.get_text_width_height_descent(text, font, False) for text in labels]
    return max(size[0] for size in sizes) / 72


def _draw_matrix(figure: Figure, axes: Axes, matrix: list[list[float]]) -> None:
    from matplotlib.colors import PowerNorm

    percent = [[100 * value for value in row] for row in matrix]
    # The square root keeps 1 % visible beside a diagonal of 60 %.
    image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    box = axes.get_position()
    inch = 1 / figure.get_size_inches()[0]
    beside = figure.add_axes((box.x1 + 0.15 * inch, box.y0, 0.22 * inch, box.height))
    bar = figure.colorbar(image, cax=beside, ticks=[0, 1, 5, 20, 50, 100])
    beside.tick_params(length=3, color=_RULE, labelcolor=_INK, labelsize=TICK_SIZE)
    beside.set_ylabel("% of the clean class", verticalalignment="bottom")
    beside.yaxis.set_label_coords(4.2, 0.5)
    bar.outline.set_edgecolor(_RULE)


def _write_cells(axes: Axes, matrix: list[list[float]]) -> None:
    size = 9 if len(matrix) <= 10 else 7
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if value >= 0.0005:
                text = f"{100 * value:.1f}" if value < 0.0995 else f"{100 * value:.0f}"
                colour = "white" if value > 0.35 else _INK
                axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)


def _bars(
    axes: Axes, edges: list[float], counts: list[float], name: str, colour: str, hatch: str
) -> None:
    total = sum(counts)
    shares = [100 * count / total if total else 0.0 for count in counts]
    style: dict[str, Any] = {"facecolor": f"{colour}55", "edgecolor": colour, "hatch": hatch}
    label = f"{name}, n = {int(total)}"
    axes.stairs(shares, edges, fill=True, linewidth=1.4, label=label, **style)


def _title(axes: Axes, title: str, subtitle: str) -> None:
    # Names are data: a dollar sign in one is not a formula.
    axes.set_title(title, loc="left", y=1, fontsize=12, color=_INK, pad=22, parse_math=False)
    axes.annotate(
        subtitle,
        (0, 1),
        xytext=(0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color="#555555",
        parse_math=False,
    )


def _subtitle(record: RunRecord) -> str:
    nominal = record.noise.nominal_rate
    asked = "" if nominal is None else f" {nominal:.0%}"
    realized = record.noise.realized_rate
    came_out = "noise not known" if realized is None else f"realized {realized:.1%}"
    return (
        f"{_short(record.dataset.name, 28)}, {_short(record.noise.kind, 24)}{asked}"
        f" ({came_out}), seed {record.seed}"
    )


def _short(text: str, limit: int = MAX_NAME) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
