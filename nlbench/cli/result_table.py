"""A run's result as a table for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from nlbench.cli.console import percent, printable
from nlbench.results.record import RunRecord


def result_table(record: RunRecord) -> Table:
    """Return the headline numbers of a run, failed or finished."""
    noise = record.noise
    rate = "" if noise.nominal_rate is None else f" {noise.nominal_rate:g}"
    title = f"{record.label} on {record.dataset.name}, {noise.kind}{rate}"
    table = Table(
        title=Text(printable(f"{title}, seed {record.seed}"), style="bold"),
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for row in [*_test_rows(record), *_selection_rows(record), *_time_rows(record)]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _test_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    if record.metrics is None:
        error = record.error
        message = f"{error.type}: {error.message}" if error else ""
        return [("status", record.status, message)]
    test = record.metrics.test
    against = "" if record.dataset.test_labels_are_clean else "; against noisy labels"
    return [
        ("test accuracy", percent(test.accuracy_last), f"last epoch, ranked{against}"),
        (
            "  noisy validation",
            percent(test.accuracy_noisy_val),
            f"epoch {test.epoch_noisy_val} by noisy labels" if test.epoch_noisy_val else "",
        ),
        (
            "  best on test",
            percent(test.accuracy_best_oracle),
            f"chosen on the test set; not ranked{against}",
        ),
        *(
            (f"  {name}", percent(share), "last epoch, another test set; not ranked")
            for name, share in test.other_tests.items()
        ),
    ]


def _selection_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    if record.metrics is None:
        return []
    selection = record.metrics.selection
    before, after = percent(selection.noise_rate_before), percent(selection.noise_rate_after)
    return [
        (
            "selection F1",
            _number(selection.f1),
            "the clean labels are unknown"
            if selection.f1 is None
            else f"precision {_number(selection.precision)}, recall {_number(selection.recall)}",
        ),
        ("  AUROC", _number(selection.auroc), "of the score, all samples"),
        (
            "  kept",
            percent(selection.kept_fraction),
            "" if selection.f1 is None else f"noise {before} -> {after}",
        ),
        ("  worst class recall", percent(selection.worst_class_recall), ""),
    ]


def _number(share: float | None) -> str:
    return "–" if share is None else f"{share:.4f}"


def _time_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    times = record.times
    parts = f"embed {times.embed_s:.1f}, select {times.select_s:.1f}, train {times.train_s:.1f}"
    knows = ", ".join(record.selector.knowledge) or "noisy labels only"
    return [
        ("seconds", f"{times.total_s:.1f}", f"{parts}; peak {times.peak_memory_mb:.0f} MiB"),
        ("knows", "", knows),
    ]
