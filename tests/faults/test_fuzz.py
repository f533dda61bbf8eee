"""Random hostile input for as long as is asked for: files of runs, the page, a home, YAML.

    NLBENCH_FUZZ_MINUTES=60 python -m pytest tests/faults/test_fuzz.py -m fuzz -s

The inputs follow from `NLBENCH_FUZZ_SEED` and their number. Each goes through the commands that a
user would type. A finding is an end that is not a message, ten seconds without an end, or half a
GiB of memory; its input is kept and named.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hostile_runs import NASTY, a_run, changed, one_run, places
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.config.recipe_files import recipe_layers, recipe_names
from nlbench.config.run_config import versioned_sha256
from nlbench.contribution import read_runs
from nlbench.contribution.evidence import write_evidence
from nlbench.results.store import RunStore

pytestmark = pytest.mark.fuzz

MINUTES = float(os.environ.get("NLBENCH_FUZZ_MINUTES", "1"))
SEED = os.environ.get("NLBENCH_FUZZ_SEED", "0")
SLOW_S, LARGE_MIB = 10.0, 512.0

Spoil = Callable[[Random, Path], list[list[str]]]

NUMBERS = ("0", "-1", "1e999", "NaN", "0x1F", "1_0", "2020-13-45", "9" * 400, "1:30", ".inf")
YAML_MARKS = "ab:-[]{}&*!|>?#%@`'\",.0123456789\n <=~\\x\t"


def spoil_runs(rng: Random, folder: Path) -> list[list[str]]:
    """Any value at any places of a file of runs, often under the right fingerprint."""
    content = spoilt(rng, a_run())
    if rng.random() < 0.5:
        with suppress(Exception):  # what cannot be hashed keeps its fingerprint
            record = content["runs"][0]["record"]
            record["fingerprint"] = versioned_sha256(record["config"])
    path = folder / "hostile.json"
    path.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")
    return read_by(folder, path)


def spoil_bytes(rng: Random, folder: Path) -> list[list[str]]:
    """Bits, bytes and parts of a file of runs: flipped, cut, doubled."""
    path = folder / "hostile.json"
    path.write_bytes(damaged(rng, one_run().encode()))
    return read_by(folder, path)


def read_by(folder: Path, path: Path) -> list[list[str]]:
    page = ["leaderboard", "--records", str(path), "--only-records", "--out", str(folder / "page")]
    return [["verify", str(path)], page]


def spoil_home(rng: Random, folder: Path) -> list[list[str]]:
    """One file of a home with a finished run: its record, samples, gallery or a marker."""
    name = rng.choice(sorted(path.name for path in home_run(folder).iterdir()))
    path = home_run(folder) / name
    if name.endswith(".json") and rng.random() < 0.5:
        content = spoilt(rng, json.loads(path.read_bytes()))
        path.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(damaged(rng, path.read_bytes()))
    fingerprint = path.parent.name[:12]
    out = ["--out", str(folder / "page")]
    return [["leaderboard", *out], ["show", "run", fingerprint], ["doctor"],
            ["export", "--all", "--out", str(folder / "out.json")]]  # fmt: skip


def home_run(folder: Path) -> Path:
    """Return the folder of the home's one run, made again from what is committed."""
    store = RunStore(folder / "home")
    source = folder / "good.json"
    source.write_text(one_run())
    (run,) = read_runs(source)
    place = store.folder(run.record.fingerprint)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    assert run.evidence is not None
    write_evidence(place, run.evidence)
    (place / "gallery.json").write_text(json.dumps(GALLERY))
    store.write(run.record)
    (place / "running.json").write_text('{"pid": 1, "attempt": 1, "mlflow_run": null}')
    (place / "mlflow.json").write_text('{"uri": "", "run_id": "a"}')
    (place / "started.json").write_text(
        run.record.model_copy(update={"status": "running"}).to_json()
    )
    return place


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsRk5lQAAAABJRU5ErkJggg=="
SAMPLE = {"id": "a", "noisy_label": 1, "clean_label": 2, "score": 0.5, "keep": True, "png": DOT}
GALLERY = {
    "format": "nlbench-gallery/1",
    "groups": [{"key": "kept-noisy", "n": 3, "samples": [SAMPLE]}],
}


def spoil_yaml(rng: Random, folder: Path) -> list[list[str]]:
    """A recipe or the axes of a sweep with other text or values at any place."""
    import yaml

    path = folder / "hostile.yaml"
    name = rng.choice(["axes", *recipe_names()])
    content = dict(AXES if name == "axes" else recipe_layers(name)[-1].content)
    if rng.random() < 0.5:
        spoiled = spoilt(rng, content)
        text = yaml.safe_dump(spoiled, allow_unicode=True)
    else:
        text = yaml.safe_dump(content)
        for _ in range(rng.randint(1, 3)):
            at, end = sorted(rng.randint(0, len(text)) for _ in range(2))
            text = text[:at] + yaml_text(rng) + text[min(end, at + 9) :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    asked = [] if name == "axes" else ["--recipe", "--seeds", "0", "--selector", "none"]
    if asked:
        return [["sweep", "--dry-run", "--recipe", str(path), *asked[1:]]]
    return [["sweep", "--dry-run", str(path)]]


AXES = {
    "selectors": ["none", "small-loss:share=0.5,0.7"],
    "noises": ["symmetric:0.4", "pair:0.3"],
    "seeds": "0-2",
    "epochs": 2,
    "settings": {"trainer.lr": 0.1},
}


def any_value(rng: Random, depth: int = 0) -> Any:
    kind = rng.randrange(6 if depth < 3 else 4)
    if kind < 2:
        return rng.choice(NASTY)
    if kind == 2:
        return rng.choice((rng.randint(-(2**70), 2**70), rng.gauss(0, 9), rng.random()))
    if kind == 3:
        return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x11000)))) for _ in "abc")
    inner = [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return inner if kind == 4 else {rng.choice("abc"): value for value in inner}


def yaml_text(rng: Random) -> str:
    if rng.random() < 0.2:
        return rng.choice(NUMBERS)
    return "".join(rng.choice(YAML_MARKS) for _ in range(rng.randint(0, 12)))


def spoilt(rng: Random, content: Any) -> Any:
    for _ in range(rng.randint(1, 3)):
        every = places(content)
        if not every:
            return content
        at = rng.choice(every)
        # A value from another place has the right type where the wrong number is.
        other = value_at(content, rng.choice(every))
        content = changed(content, at, other if rng.random() < 0.5 else any_value(rng))
    return content


def value_at(content: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        content = content[key]
    return content


def damaged(rng: Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, max(0, len(data) - 1))
        kind = rng.choice(("flip", "cut", "double", "insert"))
        if kind == "flip" and data:
            data[at] ^= 1 << rng.randint(0, 7)
        elif kind == "cut":
            del data[at : at + rng.randint(1, 99)]
        elif kind == "double":
            data[at:at] = data[at : at + rng.randint(1, 99)]
        else:
            data[at:at] = rng.randbytes(rng.randint(0, 9))
    return bytes(data)


@pytest.mark.parametrize("spoil", [spoil_runs, spoil_bytes, spoil_home, spoil_yaml])
def test_hostile_input_ends_in_a_message(
    spoil: Spoil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLBENCH_HOME", str(tmp_path / "home"))
    found: Counter[str] = Counter()
    n_inputs, end = 0, time.monotonic() + 60 * MINUTES / 4
    while time.monotonic() < end:
        rng = Random(f"{SEED}/{spoil.__name__}/{n_inputs}")  # noqa: S311 - no secret
        for command in spoil(rng, tmp_path):
            for finding in findings_of(command):
                if not found[finding]:
                    keep(tmp_path, finding, len(found))
                found[finding] += 1
        n_inputs += 1
    print(f"\n{spoil.__name__}: {n_inputs} inputs, {len(found)} findings", flush=True)
    assert not found, "\n".join(f"{count} x {finding}" for finding, count in found.items())


def findings_of(command: list[str]) -> list[str]:
    began, before = time.monotonic(), peak_mib()
    result = CliRunner().invoke(app, command)
    findings = []
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        frames = traceback.extract_tb(result.exception.__traceback__)
        place = next((f for f in reversed(frames) if "/nlbench" in f.filename), frames[-1])
        where = f"{place.name}, {Path(place.filename).name}:{place.lineno}"
        findings.append(f"{command[0]}: {result.exception!r:.200} in {where}")
    if time.monotonic() - began > SLOW_S:
        findings.append(f"{command[0]}: took more than {SLOW_S:g} s")
    if peak_mib() - before > LARGE_MIB:
        findings.append(f"{command[0]}: took more than {LARGE_MIB:g} MiB")
    return findings


def keep(folder: Path, finding: str, number: int) -> None:
    """Keep the input of a finding and say where."""
    target = folder / f"finding-{number}"
    target.mkdir()
    for path in (*folder.glob("hostile.*"), *(folder / "home" / "runs").glob("*/*")):
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    print(f"\n{finding}\n  input: {target}", flush=True)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
