"""The pictures of a run hold what they should, for any number of classes and any names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbench.results import DatasetInfo, NoiseInfo, ProtocolInfo, RunRecord, SelectorInfo
from nlbench.tracking.figures import (
    MAX_CLASSES_WITH_TEXT,
    save_png,
    score_histogram_figure,
    transition_matrix_figure,
    transition_matrix_png,
)


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


def texts(figure: Any) -> list[str]:
    import matplotlib.text

    return [found.get_text() for found in figure.findobj(matplotlib.text.Text)]


@pytest.mark.parametrize("n_classes", [2, 10, 15, 16, 100])
def test_cells_carry_numbers_only_where_they_can_be_read(n_classes: int, tmp_path: Path) -> None:
    figure = transition_matrix_figure(make_record(n_classes))
    axes = figure.axes[0]
    assert len([t for t in axes.texts if t.get_text() == "70"]) == (
        n_classes if n_classes <= MAX_CLASSES_WITH_TEXT else 0
    )
    assert len(axes.get_xticks()) <= 25
    save_png(figure, tmp_path / "made" / "matrix.png")
    assert (tmp_path / "made" / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_matrix_stands_the_right_way_round() -> None:
    noise = make_record(2).noise.model_copy(update={"transition_matrix": [[0.9, 0.1], [0.4, 0.6]]})
    axes = transition_matrix_figure(make_record(2, noise=noise)).axes[0]
    assert axes.images[0].get_array().tolist() == [[90, 10], [40, 60]]
    assert {t.get_position(): t.get_text() for t in axes.texts if t.get_text() == "40"} == {
        (0, 1): "40"  # x is the noisy label, y the clean one
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("noisy label", "clean label")


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.3, "digits, symmetric 30% (realized 31.2%), seed 4"),
        (None, "digits, symmetric (realized 31.2%), seed 4"),
    ],
)
def test_titles_say_which_data_and_how_much_noise(rate: float | None, expected: str) -> None:
    record = make_record(rate=rate)
    assert expected in texts(transition_matrix_figure(record))
    assert expected in texts(score_histogram_figure(record))


def test_the_histogram_shows_shares_of_each_group() -> None:
    axes = score_histogram_figure(make_record()).axes[0]
    clean, noisy = axes.patches
    assert clean.get_data().values.tolist() == pytest.approx([100 / 7, 600 / 7])
    assert noisy.get_data().values.tolist() == [100, 0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "clean, n = 70",
        "noisy, n = 30",
    ]


def test_a_run_without_noisy_samples_can_be_drawn(tmp_path: Path) -> None:
    histogram = {"edges": [0.0, 0.5, 1.0], "clean": [10, 60], "noisy": [0, 0]}
    save_png(score_histogram_figure(make_record(score_histogram=histogram)), tmp_path / "s.png")


def test_selectors_on_the_same_noise_share_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counted(record: RunRecord) -> Any:
        drawn.append(record.seed)
        return transition_matrix_figure(record)

    monkeypatch.setattr("nlbench.tracking.figures.transition_matrix_figure", counted)
    noise = make_record().noise
    other = noise.model_copy(update={"realized_rate": 0.2999})
    records = [
        make_record(seed=901),
        make_record(seed=901, selector=SelectorInfo(name="another")),
        make_record(seed=902),
        make_record(seed=901, noise=other),
    ]
    pictures = [transition_matrix_png(record) for record in records]
    assert drawn == [901, 902, 901]
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3
    assert pictures[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["$\\frac{", "日本語 ☃", "<b>", "x" * 500, "two\nlines", "_^{}%"])
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    record = make_record(class_names=[name, "b", "c"], selector=SelectorInfo(name=name))
    save_png(transition_matrix_figure(record), tmp_path / "m.png")
    save_png(score_histogram_figure(record), tmp_path / "s.png")


@pytest.mark.parametrize(
    "histogram", [{}, {"edges": [0.0, 1.0], "clean": [1.0]}, {"edges": [0, 1], "clean": [1, 2]}]
)
def test_a_histogram_that_does_not_fit_is_refused(histogram: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="edges"):
        score_histogram_figure(make_record(score_histogram=histogram))


def test_a_missing_matrix_is_refused() -> None:
    noise = make_record().noise.model_copy(update={"transition_matrix": []})
    with pytest.raises(ValueError, match="no transition matrix"):
        transition_matrix_figure(make_record(noise=noise))


def test_no_global_state_and_no_early_import() -> None:
    code = (
        "import sys, nlbench.tracking.figures; assert 'matplotlib' not in sys.modules\n"
        "from matplotlib.figure import Figure; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_the_same_record_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_png(transition_matrix_figure(make_record()), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
