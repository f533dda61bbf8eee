"""How commands talk: errors, tables, progress. Results go to stdout, all else to stderr."""

from __future__ import annotations

import codecs
import errno
import functools
import inspect
import io
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from nlbench.errors import NlbenchError, PausedError, PluginError, refusal, text_of
from nlbench.runner.library_warnings import log_library_warnings

if TYPE_CHECKING:
    from rich.table import Table

_UNLIMITED = 100_000  # columns

F = TypeVar("F", bound=Callable[..., Any])


def guarded(command: F) -> F:
    """Return a command that ends a user's mistake with its message and exit code."""

    @functools.wraps(command)
    def inner(*args: Any, **kwargs: Any) -> Any:
        _start_log()
        try:
            return command(*args, **kwargs)
        except NlbenchError as error:
            fail(error)
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on, as with `| head`
                raise
            named = isinstance(error.filename, str | Path)
            fail(refusal(error, error.filename if named else "the output", "read or written"))
        except BaseException as error:
            if isinstance(error, Exception | KeyboardInterrupt):
                raise
            fail(_of_a_plugin(error))

    inner.__doc__ = help_text(command.__doc__ or "")
    return inner  # type: ignore[return-value]


def _of_a_plugin(error: BaseException) -> PluginError:
    """Return the error for SystemExit and the like, which nothing of ours raises in a command."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return PluginError(
        f"{type(error).__name__} was raised: {text_of(error)} (at {last.filename}:{last.lineno}). "
        "A plugin must raise exceptions that derive from Exception; repair it, or leave it out."
    )


def help_text(docstring: str) -> str:
    """Return a docstring as help, whose examples are not wrapped: they are there to be copied.

    >>> help_text("Run it.\\n\\nExamples:\\n\\n  nlbench run\\n\\n  nlbench sweep")
    'Run it.\\n\\n\\x08\\nExamples:\\n  nlbench run\\n  nlbench sweep'
    """
    text, heading, examples = inspect.cleandoc(docstring).partition("Examples:\n")
    if not heading:
        return text
    return f"{text}\b\n{heading}" + "\n".join(filter(None, examples.split("\n")))


def say_loading() -> None:
    """Say before the heavy imports that they take a while, where a person looks."""
    if "torch" not in sys.modules and sys.stderr.isatty():
        typer.echo("Loading PyTorch and the methods; this takes some seconds ...", err=True)


# Characters of our tables and messages in ASCII, for terminals and files that have no others.
_ASCII = {
    "–": "-", "—": "-", "−": "-", "×": "x", "±": "+-", "→": "->", "…": "...", "≤": "<=", "≥": ">=",
    "·": "-", "†": "+", "‡": "++", "≈": "~",
    "•": "*", "’": "'", "“": '"', "”": '"', "─": "-", "━": "-", "│": "|",
}  # fmt: skip


def make_output_robust() -> None:
    """Have stdout and stderr take any text, whatever their encoding; it comes out legible.

    With ``LANG=C``, ``PYTHONIOENCODING=ascii`` or an old code page, one dash would end a command.
    """
    codecs.register_error("nlbench", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nlbench")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in text), error.end


def fail(error: NlbenchError) -> None:
    """Print an error and leave with its exit code."""
    say_error(error)
    raise typer.Exit(error.exit_code)


def say_error(error: NlbenchError) -> None:
    """Print an error on stderr."""
    if not isinstance(error, PausedError):  # as it was told to
        typer.secho("Error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo(printable(text_of(error, limit=20_000)), err=True)


def complain(problems: Sequence[str], most: int = 5) -> None:
    """Print the first problems on stderr, a line each, and how many more there are."""
    for problem in problems[:most]:
        typer.secho(printable(f"  {problem}"), fg=typer.colors.RED, err=True)
    if len(problems) > most:
        typer.secho(f"  and {len(problems) - most} more", fg=typer.colors.RED, err=True)


def printable(text: str) -> str:
    """Return text without control characters: names from plugins may hold terminal escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "data set"), counted(2, "noise")
    ('1 data set', '2 noises')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@contextmanager
def quiet_stdout(quiet: bool = True) -> Iterator[None]:
    """Send what plugins and libraries print to stderr, also by file number: stdout is for JSON."""
    if not quiet:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def silence() -> None:
    """Have this process print nothing more: another one speaks for it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if "TORCHELASTIC_USE_AGENT_STORE" in os.environ:  # by torchrun; else stderr goes to a file
        os.dup2(nowhere, 2)
    os.close(nowhere)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _start_log() -> None:
    """Send our log to stderr, and the warnings of libraries to our log."""
    logger = logging.getLogger("nlbench")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Printable("%(levelname)s: %(message)s"))
        logger.addHandler(handler)
    log_library_warnings()


def width_of_stdout() -> int:
    """Return the columns of the terminal; a pipe or file has no width, so its lines are whole."""
    given = os.environ.get("COLUMNS", "")
    if not sys.stdout.isatty() and not given.isdigit():
        return _UNLIMITED
    return shutil.get_terminal_size().columns


def print_table(table: Table, stderr: bool = False) -> None:
    """Print a table: as wide as the terminal, and as wide as it needs where there is none.

    A pipe or file has no width; rich would take 80 columns and cut what is longer.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(stderr=stderr)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        unlimited = console.options.update(max_width=_UNLIMITED)
        console.width = max(1, Measurement.get(console, unlimited, table).maximum)
    console.print(table)


@contextmanager
def run_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show one run's stage and epoch on stderr while it goes; nothing where it is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage, done, total: None
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("start", total=1)
        yield lambda stage, done, total: bar.update(
            task, description=stage, completed=done, total=total
        )


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a command's stage with the time left; where stderr is no terminal, a line per stage."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _stage_lines()
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    bar.update(earlier, visible=False)
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def _stage_lines() -> Callable[[str, int, int], None]:
    seen: set[str] = set()

    def show(stage: str, done: int, total: int) -> None:
        if stage not in seen:
            seen.add(stage)
            typer.echo(f"{stage} ...", err=True)

    return show


def percent(share: float | None) -> str:
    """Return a share as percent with two decimals, or a dash.

    >>> percent(0.97781)
    '97.78 %'
    """
    return "–" if share is None else f"{100 * share:.2f} %"
