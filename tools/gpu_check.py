"""Everything that only a GPU can tell, in one call; started by gpu_check.sh.

The tests marked gpu, every selector once, two deterministic runs bit by bit, and what the empty
GPU columns of docs/performance*.md wait for. A step that fails or takes too long is recorded, and
the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOTAL_S = 530
NO_GPU = 2


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        name: Also that of its log.
        what: What its output is for.
        words: The command, after the interpreter.
        limit_s: It is ended after so many seconds.
        home: The folder under OUT that is its NLBENCH_HOME.
        check: Looks at OUT after a command that succeeded; returns what is wrong, or nothing.
    """

    name: str
    what: str
    words: tuple[str, ...]
    limit_s: float
    home: str = "home"
    check: Callable[[Path], str] = lambda out: ""


@dataclass
class Outcome:
    """What a step gave."""

    name: str
    what: str
    command: str
    outcome: str = "ok"
    seconds: float = 0.0
    output: list[str] = field(default_factory=list)


def steps() -> list[Step]:
    """Return the plan; its limits stay below the total."""
    performance = str(ROOT / "tools" / "performance.py")
    sweep = (
        "-m",
        "nlbench",
        "sweep",
        "--device",
        "cuda",
        "--noise",
        "symmetric:0.4",
        "--seeds",
        "0",
    )
    exact = (*sweep, "--epochs", "3", "--deterministic")
    for name in ("small-loss", "co-teaching", "clipcleaner"):
        exact = (*exact, "--selector", name)
    return [
        Step("selectors", "every selector once on the GPU", (*sweep, "--epochs", "2"), 80),
        Step("deterministic-1", "the first of two equal runs", exact, 50, "first"),
        Step("deterministic-2", "the same again, bit by bit", exact, 50, "second", equal_runs),
        Step(
            "selection",
            "docs/performance.md, 'Selection from cached embeddings', column GPU",
            (performance, "selection", "--device", "cuda", "--rounds", "0"),
            70,
        ),
        Step(
            "training",
            "docs/performance-training.md, 'One epoch with its test', rows GPU",
            (performance, "training", "epoch", "--device", "cuda", "--n", "10000"),
            110,
        ),
        Step(
            "embedding",
            "docs/performance-embedding.md, 'Against the loop of released code', column GPU",
            (performance, "embedding", "--device", "cuda", "--images", "2048", "--scale"),
            90,
        ),
        Step("tests", "the tests marked gpu", ("-m", "pytest", "-q", "-m", "gpu", "tests"), 80),
    ]


def equal_runs(out: Path) -> str:
    """Compare the metrics and curves of the two deterministic runs."""
    first, second = (_answers(out / home) for home in ("first", "second"))
    if not first or first.keys() != second.keys():
        return f"{len(first)} runs in the first home, {len(second)} in the second"
    differ = [name for name in first if first[name] != second[name]]
    return f"the two runs differ: {', '.join(differ)}" if differ else ""


def _answers(home: Path) -> dict[str, object]:
    """Return metrics and curves by selector, as they are on disk."""
    answers = {}
    for path in sorted((home / "runs").rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "metrics" in record:
            answers[record["selector"]["name"]] = [record["metrics"], record["curves"]]
    return answers


def run(plan: Sequence[Step], out: Path, total_s: float = TOTAL_S) -> list[Outcome]:
    """Do one step after the other; the report is written anew after each."""
    ends = time.monotonic() + total_s
    outcomes: list[Outcome] = []
    for step in plan:
        outcome = _done(step, out, min(step.limit_s, ends - time.monotonic()))
        outcomes.append(outcome)
        print(f"{step.name}: {outcome.outcome} ({outcome.seconds:.0f} s)", flush=True)
        write_report(outcomes, out)
    return outcomes


def _done(step: Step, out: Path, limit_s: float) -> Outcome:
    outcome = Outcome(step.name, step.what, " ".join(["python", *step.words]))
    if limit_s <= 0:
        outcome.outcome = "not started: no time was left"
        return outcome
    started = time.monotonic()
    log = out / f"{step.name}.log"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [sys.executable, *step.words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "NLBENCH_HOME": str(out / step.home), "COLUMNS": "200"},
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
            outcome.outcome = "ok" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            outcome.outcome = f"ended after {limit_s:.0f} s"
        finally:
            _end(process)
    outcome.seconds = round(time.monotonic() - started, 1)
    outcome.output = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if outcome.outcome == "ok":
        outcome.outcome = step.check(out) or "ok"
    return outcome


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step with all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def write_report(outcomes: Sequence[Outcome], out: Path) -> None:
    """Write report.json and report.md."""
    head = {"device": device(), "steps": [asdict(outcome) for outcome in outcomes]}
    (out / "report.json").write_text(json.dumps(head, indent=1), encoding="utf-8")
    lines = ["# GPU check", "", f"{head['device']}", "", "| step | outcome | seconds | for |"]
    lines += ["| --- | --- | ---: | --- |"]
    lines += [f"| {o.name} | {o.outcome} | {o.seconds:.0f} | {o.what} |" for o in outcomes]
    for o in outcomes:
        last = o.output if o.outcome == "ok" else o.output[-30:]
        lines += ["", f"## {o.name}", "", f"`{o.command}`", "", "```text", *last, "```"]
    (out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def device() -> str:
    """Return the GPU and the versions in one line."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return f"{name}; torch {torch.__version__}; CUDA {torch.version.cuda}; {os.cpu_count()} cores"


def main() -> int:
    """Read the arguments; return the exit code."""
    parser = argparse.ArgumentParser("gpu_check.sh", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the report")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    asked = parser.parse_args()
    plan = steps()
    if asked.dry_run:
        for step in plan:
            print(f"{step.name} ({step.limit_s:.0f} s at most): python {' '.join(step.words)}")
        print(f"all: {sum(step.limit_s for step in plan):.0f} s at most")
        return 0
    import torch

    if not torch.cuda.is_available():
        print(
            f"the GPU check needs a CUDA device, and torch {torch.__version__} sees none. Run it "
            "on a machine with one; `--dry-run` says what it would do.",
            file=sys.stderr,
        )
        return NO_GPU
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    outcomes = run(plan, out)
    print(f"report: {out / 'report.md'}")
    return 0 if all(outcome.outcome == "ok" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
