"""The pictures of a run hold what they should, for any number of classes and any names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from nlbench.results.record import DatasetInfo, NoiseInfo, ProtocolInfo, RunRecord, SelectorInfo
from nlbench.tracking.figures import (
    CLEAN_COLOUR,
    MAX_CLASSES_WITH_TEXT,
    NOISY_COLOUR,
    score_histogram_svg,
    transition_matrix_svg,
)

SVG = "{http://www.w3.org/2000/svg}"


def make_record(n_classes: int = 3, rate: float | None = 0.3, **changes: Any) -> RunRecord:
    matrix = np.full((n_classes, n_classes), 0.3 / (n_classes - 1))
    np.fill_diagonal(matrix, 0.7)
    names = changes.pop("class_names", [])
    fields: dict[str, Any] = {
        "fingerprint": "f" * 64,
        "status": "finished",
        "selector": SelectorInfo(name="clip-knn"),
        "dataset": DatasetInfo(
            name="digits",
            fingerprint="d" * 64,
            n_train=100,
            n_test=10,
            n_classes=n_classes,
            class_names=names,
        ),
        "noise": NoiseInfo(
            kind="symmetric",
            nominal_rate=rate,
            realized_rate=0.312,
            sha256="a" * 64,
            transition_matrix=matrix.tolist(),
        ),
        "seed": 4,
        "protocol": ProtocolInfo(id="quick", sha256="b" * 64, version=1),
        "score_histogram": {"edges": [0.0, 0.5, 1.0], "clean": [10, 60], "noisy": [30, 0]},
    }
    return RunRecord(**{**fields, **changes})


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own, and a parser is what it is for


def texts(svg: str) -> dict[str, tuple[float, float]]:
    """Return every text of a picture with its place; the last one where two are alike."""
    found = read(svg).iter(f"{SVG}text")
    return {e.text or "": (float(e.attrib["x"]), float(e.attrib["y"])) for e in found}


def size(svg: str) -> tuple[float, float]:
    root = read(svg)
    return float(root.attrib["width"]), float(root.attrib["height"])


def colour_at(svg: str, x: float, y: float) -> str:
    """Return the filling of the last rectangle drawn over a place."""
    colour = ""
    for element in read(svg).iter(f"{SVG}rect"):
        box = [element.attrib.get(key, "0") for key in ("x", "y", "width", "height")]
        if element.attrib.get("fill", "none") == "none" or "%" in "".join(box):
            continue
        left, top, width, height = map(float, box)
        if left <= x < left + width and top <= y < top + height:
            colour = element.attrib["fill"]
    return colour


@pytest.mark.parametrize("n_classes", [2, 10, 15, 16, 100])
def test_cells_carry_numbers_only_where_they_can_be_read(n_classes: int) -> None:
    svg = transition_matrix_svg(make_record(n_classes))
    shown = [e.text for e in read(svg).iter(f"{SVG}text")]
    assert shown.count("70") == (n_classes if n_classes <= MAX_CLASSES_WITH_TEXT else 0)
    assert len(shown) <= 2 * 25 + 11 + MAX_CLASSES_WITH_TEXT**2
    assert len(svg) < 100_000


def test_the_matrix_stands_the_right_way_round() -> None:
    noise = make_record(2).noise.model_copy(update={"transition_matrix": [[0.9, 0.1], [0.4, 0.6]]})
    svg = transition_matrix_svg(make_record(2, noise=noise, class_names=["cat", "dog"]))
    places = texts(svg)
    assert places["90"][1] == places["10"][1] < places["40"][1] == places["60"][1]
    assert places["90"][0] == places["40"][0] < places["10"][0] == places["60"][0]
    assert places["noisy label"][1] > places["60"][1]  # below the matrix; the other one left of it
    assert places["clean label"][0] < places["40"][0]
    shades = [int(colour_at(svg, *places[text])[1:3], 16) for text in ("90", "60", "40", "10")]
    assert shades == sorted(set(shades))  # the more, the darker


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.3, "digits, symmetric 30% (realized 31.2%), seed 4"),
        (None, "digits, symmetric (realized 31.2%), seed 4"),
    ],
)
def test_titles_say_which_data_and_how_much_noise(rate: float | None, expected: str) -> None:
    record = make_record(rate=rate)
    assert expected in texts(transition_matrix_svg(record))
    assert expected in texts(score_histogram_svg(record))


def outlines(svg: str) -> dict[str, list[float]]:
    """Return the heights of the steps of each group in pixels, by its colour."""
    found = {}
    for path in read(svg).iter(f"{SVG}path"):
        if path.attrib["d"].endswith("z"):
            start, *steps = path.attrib["d"].rstrip("z").split("V")
            base = float(start.split()[1])
            heights = [base - float(step.split("H")[0]) for step in steps[:-1]]
            found[path.attrib["stroke"]] = heights
    return found


def test_the_histogram_shows_shares_of_each_group() -> None:
    svg = score_histogram_svg(make_record())
    clean, noisy = (outlines(svg)[colour] for colour in (CLEAN_COLOUR, NOISY_COLOUR))
    assert noisy[1] == 0
    assert [value / noisy[0] for value in clean] == pytest.approx([1 / 7, 6 / 7], abs=1e-3)
    places = texts(svg)
    assert {"clean, n = 70", "noisy, n = 30", "score (higher = cleaner)"} <= set(places)
    per_percent = (places["20"][1] - places["80"][1]) / 60
    assert noisy[0] == pytest.approx(100 * per_percent, abs=0.2)
    assert places["0.2"][0] < places["0.4"][0] < places["1"][0]


def test_the_legend_stands_where_it_hides_least() -> None:
    right = {"edges": [0.0, 0.1, 0.5, 1.0], "clean": [1, 1, 9], "noisy": [1, 1, 1]}
    left = {"edges": [0.0, 0.1, 0.5, 1.0], "clean": [9, 1, 1], "noisy": [1, 1, 1]}
    places = [
        texts(score_histogram_svg(make_record(score_histogram=histogram)))["label"][0]
        for histogram in (right, left)
    ]
    assert places[0] < 200 < 500 < places[1]


@pytest.mark.parametrize(
    "edges",
    [[0.0, 0.5, 1.0], [-3e-7, 0.0, 2e-7], [5e8, 6e8, 7e8], [2.0, 2.0, 2.0], [0.0, 1e-300, 1]],
)
def test_scores_of_any_size_get_a_handful_of_ticks(edges: list[float]) -> None:
    histogram = {"edges": edges, "clean": [1, 2], "noisy": [2, 1]}
    svg = score_histogram_svg(make_record(score_histogram=histogram))
    places = {text: at for text, at in texts(svg).items() if at[1] == 450}
    assert 1 <= len(places) <= 10
    assert all(edges[0] <= float(text) <= edges[-1] * (1 + 1e-6) for text in places)


def test_a_run_without_noisy_samples_can_be_drawn() -> None:
    histogram = {"edges": [0.0, 0.5, 1.0], "clean": [10, 60], "noisy": [0, 0]}
    svg = score_histogram_svg(make_record(score_histogram=histogram))
    assert outlines(svg)[NOISY_COLOUR] == [0, 0]


@pytest.mark.parametrize(
    "name",
    ["$\\frac{", "日本語 ☃", "<b>&amp;", "x" * 500, "two\nlines", "]]>", "\x00\x1b[2J\ud800", '"'],
)
def test_any_name_can_be_drawn(name: str) -> None:
    record = make_record(class_names=[name, "b", "c"], selector=SelectorInfo(name=name))
    for svg in (transition_matrix_svg(record), score_histogram_svg(record)):
        svg.encode()  # can be written
        width, height = size(svg)
        assert all(0 <= x <= width and 0 <= y <= height for x, y in texts(svg).values())


def test_long_class_names_have_room() -> None:
    plain, long = (
        texts(transition_matrix_svg(make_record(class_names=[name, "b", "c"])))
        for name in ("a", "x" * 16)
    )
    assert long["x" * 16][0] > 0
    assert long["70"][0] - plain["70"][0] == pytest.approx(15 * 7.2)


@pytest.mark.parametrize(
    "histogram", [{}, {"edges": [0.0, 1.0], "clean": [1.0]}, {"edges": [0, 1], "clean": [1, 2]}]
)
def test_a_histogram_that_does_not_fit_is_refused(histogram: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="edges"):
        score_histogram_svg(make_record(score_histogram=histogram))


def test_a_missing_matrix_is_refused() -> None:
    noise = make_record().noise.model_copy(update={"transition_matrix": []})
    with pytest.raises(ValueError, match="no transition matrix"):
        transition_matrix_svg(make_record(noise=noise))


def test_no_plotting_library_is_loaded() -> None:
    code = (
        "import sys, nlbench.tracking.figures, nlbench.tracking.files\n"
        "assert not {'matplotlib', 'PIL', 'numpy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_the_same_record_gives_the_same_picture() -> None:
    assert transition_matrix_svg(make_record()) == transition_matrix_svg(make_record())
