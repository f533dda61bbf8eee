"""``nlbench doctor``: versions, device, stores, and what is missing."""

from __future__ import annotations

import platform

import typer

from nlbench.cli.console import printable


def doctor() -> None:
    """Show what is installed, and what is missing or broken.

    Versions, device, cache and stores.

    Examples:

      nlbench doctor
    """
    from nlbench.errors import PluginError
    from nlbench.machine import package_versions
    from nlbench.plugins.registry import KINDS, components

    _line("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    missing = []
    for package, version in package_versions().items():
        _line(package, version or "missing")
        missing += [] if version else [f"package {package}: pip install {package}"]
    missing += _devices()
    missing += _stores()
    missing += _mlflow()
    for kind in KINDS:
        for component in components(kind).values():
            try:
                component.load()
            except PluginError as error:
                lines = str(error).splitlines()
                cause = lines[-2] if len(lines) > 2 else lines[0]
                missing.append(f"{kind[:-1]} {component.name}: {cause}")
    if not missing:
        typer.secho("Nothing is missing.", fg=typer.colors.GREEN)
    for problem in missing:
        typer.secho("missing  ", fg=typer.colors.YELLOW, nl=False)
        typer.echo(printable(problem))


def _line(name: str, text: str) -> None:
    typer.echo(f"{name:<16} {printable(text)}")


def _devices() -> list[str]:
    from nlbench.machine import device_name, resolve_device

    try:
        import torchvision  # noqa: F401 - a mismatched pair fails here, at import
    except (ImportError, RuntimeError) as error:
        return [f"torchvision does not fit this torch ({error}): pip install -U torch torchvision"]
    device = resolve_device("auto")
    _line("device", f"{device} ({device_name(device)})")
    return []


def _stores() -> list[str]:
    from nlbench.encoders.cache import EmbeddingCache
    from nlbench.encoders.features import load_encoder
    from nlbench.errors import NlbenchError
    from nlbench.results.store import RunStore

    cached = EmbeddingCache()
    problems: list[str] = []
    try:
        store = RunStore()
        records, damaged = store.records()
        failed = sum(record.status == "failed" for record in records)
        _line("records", f"{len(records)} ({failed} failed) in {store.place}")
        problems += [f"record: {message}" for message in damaged]
    except NlbenchError as error:
        problems.append(f"records: {error}")
    try:
        entries = cached.info()
        _line("cache", f"{len(entries)} entries in {cached.folder}")
        problems += [f"cache: {entry['problem']}" for entry in entries if "problem" in entry]
    except NlbenchError as error:
        problems.append(f"cache: {error}")
    try:
        for name in ("bundled-clip", "bundled-glyphs"):
            load_encoder(name)
    except NlbenchError as error:
        problems.append(str(error))
    return problems


def _mlflow() -> list[str]:
    """Open the MLflow store that runs go to: a broken one is noticed here, not by a run."""
    from nlbench.errors import NlbenchError
    from nlbench.files import home_dir
    from nlbench.tracking import mask, resolve_uri, store_summary

    try:
        uri = resolve_uri(None, home_dir())
        _line("mlflow store", f"{mask(uri)} ({store_summary(uri)})")
    except NlbenchError as error:
        return [f"MLflow store: {error}"]
    return []
