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
    title = f"{record.selector.label} on {record.dataset.name}, {noise.kind}{rate}"
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
    return [
        ("test accuracy", percent(test.accuracy_last), "last epoch, what is ranked"),
        (
            "  noisy validation",
            percent(test.accuracy_noisy_val),
            f"epoch {test.epoch_noisy_val} by noisy labels" if test.epoch_noisy_val else "",
        ),
        ("  best on test", percent(test.accuracy_best_oracle), "peeks; never ranked"),
        *(
            (f"  {name}", percent(share), "last epoch, another test set; never ranked")
            for name, share in test.other_tests.items()
        ),
    ]


def _selection_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    if record.metrics is None:
        return []
    found = record.metrics.selection
    before, after = percent(found.noise_rate_before), percent(found.noise_rate_after)
    return [
        (
            "selection F1",
            _number(found.f1),
            "the clean labels are not known"
            if found.f1 is None
            else f"precision {_number(found.precision)}, recall {_number(found.recall)}",
        ),
        ("  AUROC", _number(found.auroc), "of the score, all samples"),
        (
            "  kept",
            percent(found.kept_fraction),
            "" if found.f1 is None else f"noise {before} -> {after}",
        ),
        ("  worst class recall", percent(found.worst_class_recall), ""),
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
