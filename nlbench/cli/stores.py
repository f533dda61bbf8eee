"""``nlbench ui``, ``nlbench sync`` and ``nlbench cache``: what is in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import complain, counted, guarded, printable
from nlbench.errors import RunError
from nlbench.runner.signals import handlers_kept

if TYPE_CHECKING:
    import subprocess

cache = typer.Typer(help="The cache of embeddings and of decoded images.", no_args_is_help=True)


def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow store. (default: MLFLOW_TRACKING_URI, else local)")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the first link in the browser.")
    ] = False,
) -> None:
    """Open MLflow on the recorded runs.

    Prints a link to each board.

    Where the store is a server, its own pages are linked and nothing is started here.

    Examples:

      nlbench ui --open

      nlbench ui --port 5001

      nlbench ui --tracking-uri https://mlflow.example.org
    """
    from nlbench.files import home_dir
    from nlbench.tracking import MlflowTracker, public_base, resolve_uri, ui_links

    uri = resolve_uri(tracking_uri, home_dir())
    MlflowTracker.open(uri, home_dir())
    remote = public_base(uri)
    base = remote or f"http://127.0.0.1:{port}"
    links = ui_links(uri, base)
    for title, link in links:
        typer.echo(f"{printable(title)}\n  {link}")
    if links:
        typer.echo(
            "In a new browser, a click in MLflow leads to its pages about language models. "
            "There, choose 'Model training' at the top left; the browser remembers it."
        )
    first = links[0][1] if links else base
    if remote is None:
        _serve(uri, port, first if open_page else None)
        return
    if not links:
        typer.echo(f"{remote} has no nlbench runs yet; `nlbench sync` fills it.")
    if open_page:
        import webbrowser

        webbrowser.open(first)


def _serve(uri: str, port: int, page: str | None) -> None:
    """Run a server until Ctrl-C or SIGTERM; `page` is opened in the browser once it answers."""
    import os
    import subprocess
    import threading

    from nlbench.tracking import ui_command, ui_environment

    typer.echo("Starting; the links work in a few seconds. Stop with Ctrl-C.")
    # In a session of its own: MLflow's server has children, and all of them are to end with us.
    environment = {**os.environ, **ui_environment()}
    with (
        _stopped_as_by_ctrl_c(),
        subprocess.Popen(ui_command(uri, port), env=environment, start_new_session=True) as server,
    ):
        try:
            if page is not None:
                threading.Thread(target=_open_when_up, args=(port, page), daemon=True).start()
            code = server.wait()
        except KeyboardInterrupt:
            _end(server)
            return
    if code:
        raise RunError(
            f"the MLflow server ended with code {code}. If port {port} is in use, "
            f"try `nlbench ui --port {port + 1}`."
        )


@contextmanager
def _stopped_as_by_ctrl_c() -> Iterator[None]:
    """Have SIGTERM and a closed terminal end the block as Ctrl-C does; by themselves they kill."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # What is ignored stays so: `nohup nlbench ui` is to outlive its terminal.
    signals = (signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]
    with handlers_kept(heard, stop):
        yield


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server with all its children."""
    import os
    import signal

    with suppress(ProcessLookupError):  # it ended just now
        os.killpg(server.pid, signal.SIGTERM)


def _open_when_up(port: int, page: str) -> None:
    import time
    import webbrowser

    from nlbench.tracking import check_alive

    for _ in range(60):
        try:
            check_alive(f"http://127.0.0.1:{port}")
        except RunError:
            time.sleep(1)
        else:
            webbrowser.open(page)
            return


def sync(
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow store. (default: MLFLOW_TRACKING_URI, else local)")
    ] = None,
) -> None:
    """Upload to MLflow the local records that it lacks.

    Examples:

      nlbench sync

      nlbench sync --tracking-uri http://mlflow.example.org:5000
    """
    from nlbench.results.store import RunStore
    from nlbench.tracking import MlflowTracker
    from nlbench.tracking import sync as fill

    store = RunStore()
    tracker = MlflowTracker.open(tracking_uri, store.home)
    report = fill(store, tracker, lambda line: typer.echo(line, err=True))
    typer.echo(
        f"{report.uploaded} uploaded, {report.already_there} already there, "
        f"{len(report.failed)} failed: {tracker.uri}"
    )
    complain(report.failed, most=len(report.failed))
    if report.failed:
        raise typer.Exit(1)


@cache.command("info")
@guarded
def info() -> None:
    """Show which embeddings and decoded images are cached.

    By encoder: data sets, rows and size, and which data sets `nlbench embed` found complete.

    Examples:

      nlbench cache info
    """
    from nlbench.data.pixel_file import pixel_files
    from nlbench.encoders.cache import EmbeddingCache, cache_dir
    from nlbench.encoders.manifest import manifests

    stored = EmbeddingCache()
    rows = stored.info()
    n_outdated = sum(bool(row.get("outdated")) for row in rows)
    for row in rows:
        size = f"{int(row['bytes']) / 2**20:.1f} MiB"
        shape = f"{row.get('rows', '?')} x {row.get('dimensions', '?')}"
        note = "  outdated" if row.get("outdated") else ""
        line = f"{row['encoder']:<32} {row['data']:<20} {shape:>14} {size:>12}{note}"
        typer.echo(printable(line))
    for entry, manifest in manifests(stored.folder):
        n_shards = counted(len(manifest.shards), "shard")
        state = f"complete: {manifest.n_images} images in {n_shards}"
        if not manifest.is_current(entry):
            state += " when embedded; shards were merged since, `nlbench embed` lists them anew"
        encoder = str(manifest.encoder.get("encoder"))
        typer.echo(printable(f"{encoder:<32} {manifest.data:<20} {state}"))
    files = {file.name: file.lstat().st_size for file in pixel_files(cache_dir())}
    for name, n_bytes in files.items():
        typer.echo(printable(f"{'decoded images':<32} {name} {n_bytes / 2**20:.1f} MiB"))
    total = sum([*(int(row["bytes"]) for row in rows), *files.values()]) / 2**20
    typer.echo(f"{len(rows) + len(files)} entries, {total:.1f} MiB in {cache_dir()}")
    if n_outdated:
        typer.echo(
            f"{n_outdated} outdated: made by an older version of the encoder and not used any "
            "more. Delete them: nlbench cache clear --outdated"
        )
    complain([str(row["problem"]) for row in rows if "problem" in row])


@cache.command("clear")
@guarded
def clear(
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Only embeddings that are not used any more.")
    ] = False,
) -> None:
    """Delete the cached embeddings and decoded images.

    They are computed again when needed.

    Examples:

      nlbench cache clear

      nlbench cache clear --outdated
    """
    from nlbench.data.pixel_file import pixel_files
    from nlbench.encoders.cache import EmbeddingCache, cache_dir
    from nlbench.files import delete_all

    freed, refused = EmbeddingCache().clear(outdated_only=outdated)
    if not outdated:
        decoded, kept = delete_all(pixel_files(cache_dir()))
        freed, refused = freed + decoded, refused + kept
    typer.echo(f"{freed / 2**20:.1f} MiB freed in {cache_dir()}")
    if refused:
        complain(refused)
        raise RunError(
            f"{counted(len(refused), 'path')} of the cache could not be deleted, see above. The "
            "rest is gone; repeat the command when the reason is gone."
        )
