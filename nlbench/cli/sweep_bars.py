"""What a sweep shows of its runs: a line for each that ended, a bar for each under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nlbench.cli.console import percent, printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn, TaskID

    from nlbench.config.run_config import RunConfig
    from nlbench.runner.cell import Cell
    from nlbench.runner.sweep import OnStart
    from nlbench.runner.workplace import Progress

    OnEnd = Callable[[int, Cell], None]


def title_of(config: RunConfig) -> str:
    """Return a run's method, settings that differ from the usual ones, board and seed."""
    rate = "" if config.noise.rate is None else f" {config.noise.rate:g}"
    changed = {**config.selector_variant, **config.trainer_variant}
    variant = "".join(f" {k}={v}" for k, v in changed.items())
    place = f"{config.dataset.name}  {config.noise.kind}{rate}  seed {config.seed}"
    return f"{config.method}{variant}  {place}"


_MOST_BARS = 16


@contextmanager
def cell_progress(n_cells: int) -> Iterator[tuple[OnStart, OnEnd]]:
    """Print a line for every cell that ended, and on a terminal a bar for each under way."""
    with work_progress(n_cells, "all runs") as (starting, ended):

        def cell_starting(config: RunConfig) -> Progress:
            return starting(config.fingerprint, title_of(config))

        def cell_ended(number: int, cell: Cell) -> None:
            is_bad = cell.status == "failed"
            ended(number, cell.key, _line(number, n_cells, cell), reason_of(cell), is_bad)

        yield cell_starting, cell_ended


@contextmanager
def work_progress(
    n: int, whole: str
) -> Iterator[
    tuple[
        Callable[[str, str], Progress],
        Callable[[int, str, str, Sequence[str], bool], None],
    ]
]:
    """Print a line for all work that ended, and on a terminal a bar for each under way.

    Args:
        n: How much work there is.
        whole: Title of the bar of all of it.

    Yields:
        What is called with key and title of what begins and returns what its progress is told to;
        what is called with number, key, line, reasons and whether it failed of what ended.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True, highlight=False)
    # On a narrow terminal the name is cut, and nothing else.
    bar_width = 10 if console.width < 100 else 30
    columns = (
        _title_column(),
        TextColumn("{task.fields[stage]}", markup=False),
        BarColumn(bar_width=bar_width, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("left"),
    )
    options: dict[str, Any] = {
        "console": console, "transient": True, "disable": not console.is_terminal,
        "speed_estimate_period": 3600.0,  # a run may take minutes, and rich looks back 30 s
    }  # fmt: skip
    with Bar(*columns, **options) as bar:
        all_of_it = bar.add_task(whole, total=n, stage="")
        under_way: dict[str, TaskID] = {}

        def starting(key: str, title: str) -> Progress:
            one = under_way.get(key)
            if one is None:
                # Of hundreds that wait in a queue, those show that have begun.
                is_shown = len(under_way) < _MOST_BARS
                one = bar.add_task(printable(title), total=None, stage="start", visible=is_shown)
                under_way[key] = one
            else:
                bar.update(one, stage="waits for another process")
            return _stage_by_stage(bar, one)

        def ended(number: int, key: str, line: str, why: Sequence[str], is_bad: bool) -> None:
            if key in under_way:
                bar.remove_task(under_way.pop(key))
            bar.update(all_of_it, completed=number)
            console.print(line, markup=False, soft_wrap=True)
            for text in why:
                style = "red" if is_bad else "dim"
                console.print(f"    {text}", markup=False, soft_wrap=True, style=style)

        yield starting, ended


def _title_column() -> ProgressColumn:
    """Return the column of names, which alone gives way: rich cuts all columns that are too wide.

    The column may wrap, so that it is the one to shrink, and its text may not, so that it is cut.
    """
    from rich.progress import ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    class Title(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    return Title(table_column=Column())


def _stage_by_stage(bar: Bar, task: TaskID) -> Progress:
    before = ""

    def show(stage: str, done: int, total: int) -> None:
        nonlocal before
        if stage != before:  # seconds of one stage say nothing of the next
            bar.reset(task, completed=done, total=total, stage=stage)
            before = stage
        bar.update(task, completed=done, total=total, visible=True)

    return show


def _line(number: int, n_cells: int, cell: Cell) -> str:
    if cell.record is not None and cell.record.metrics is not None:
        accuracy = percent(cell.record.metrics.test.accuracy_last)
        again = " (before)" if cell.status == "already finished" else ""
        result = f"{accuracy:>8}  {cell.record.times.total_s:5.1f} s{again}"
    else:
        result = cell.status.upper()
    width = len(str(n_cells))
    return printable(f"[{number:>{width}}/{n_cells}] {title_of(cell.config):<50} {result}")


_TRACEBACK = " The traceback is in the record: "


def reason_of(cell: Cell) -> tuple[str, ...]:
    """Return why a cell has no result, and how to see more of it; nothing where it has one."""
    if cell.status not in ("failed", "paused"):
        return ()
    reason, _, command = printable(cell.message).partition("\n")[0].partition(_TRACEBACK)
    return (reason, f"see {command.rstrip('.')}") if command else (reason,)
