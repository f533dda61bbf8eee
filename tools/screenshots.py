"""Take pictures of web pages: nlbench's views in MLflow, or any page at given widths.

Needs playwright (``pip install playwright``) and a Chromium; neither is a requirement of nlbench.
Looking at a page is the only test that sees a cut-off name or an empty chart.

    python tools/screenshots.py page leaderboard.html out/board.png --width 390 --width 1280
    python tools/screenshots.py mlflow http://127.0.0.1:5000 out/mlflow.png

The first writes ``out/board-390.png`` and ``out/board-1280.png``, the second a table and a chart
picture for each nlbench experiment.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VIEW_KEY = "nlbench-leaderboard"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# In a new browser the assistant's panel opens by itself and covers a quarter of the page.
NO_ASSISTANT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
    with browser(arguments.chromium, sandbox=not arguments.no_sandbox) as chromium:
        if arguments.kind == "page":
            return page_pictures(chromium, arguments)
        return mlflow_pictures(chromium, arguments)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["page", "mlflow"])
    parser.add_argument("address", help="a file, a URL, or the base URL of an MLflow server")
    parser.add_argument("out", type=Path, help="name of the pictures, ending in .png")
    parser.add_argument("--width", type=int, action="append", help="may be repeated")
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true", help="use the dark colours of pages")
    parser.add_argument("--wait", type=float, default=6.0, help="seconds for MLflow to draw")
    parser.add_argument("--chromium", help="path of the browser")
    parser.add_argument("--no-sandbox", action="store_true", help="needed as root in a container")
    return parser.parse_args()


@contextmanager
def browser(path: str | None, *, sandbox: bool) -> Iterator[Any]:
    """Start a headless Chromium with an empty profile."""
    from playwright.sync_api import sync_playwright

    program = path or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=QUIET, chromium_sandbox=sandbox
        )
        yield chromium
        chromium.close()


def page_pictures(chromium: Any, arguments: argparse.Namespace) -> int:
    """Take the whole page at each width; return 1 where the page is wider than the window."""
    file = Path(arguments.address)
    url = file.absolute().as_uri() if file.exists() else arguments.address
    too_wide = 0
    for width in arguments.width or [1280]:
        size = {"width": width, "height": arguments.height}
        scheme = "dark" if arguments.dark else "light"
        page = chromium.new_page(viewport=size, color_scheme=scheme)
        page.goto(url, wait_until="load")
        inner = page.evaluate("document.documentElement.scrollWidth")
        save(page, named(arguments.out, str(width)), full_page=True)
        if inner > width:
            print(f"  the page is {inner} px wide in a window of {width} px", file=sys.stderr)
            too_wide += 1
        page.close()
    return 1 if too_wide else 0


def mlflow_pictures(chromium: Any, arguments: argparse.Namespace) -> int:
    """Take the saved view of each nlbench experiment, as table and as charts."""
    base = arguments.address.rstrip("/")
    size = {"width": (arguments.width or [1680])[0], "height": arguments.height}
    for experiment in nlbench_experiments(base):
        number = experiment["experiment_id"]
        link = f"{base}/#/experiments/{number}/runs?viewStateShareKey={VIEW_KEY}"
        link += "&workflowType=machine_learning"
        for kind, ending in (("table", ""), ("charts", "&compareRunsMode=CHART")):
            page = chromium.new_page(viewport=size)
            page.add_init_script(NO_ASSISTANT)
            page.goto(link + ending, wait_until="load")
            page.wait_for_timeout(1000 * arguments.wait)
            save(page, named(arguments.out, f"{number}-{kind}"), full_page=False)
            page.close()
    return 0


def nlbench_experiments(base: str) -> list[dict[str, Any]]:
    """Return the nlbench experiments of an MLflow server."""
    if not base.startswith(("http://", "https://")):
        raise SystemExit(f"the address must start with http:// or https://, got {base!r}.")
    body = json.dumps({"filter": "name LIKE 'nlbench%'", "max_results": 100}).encode()
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{base}/api/2.0/mlflow/experiments/search",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - checked above
        experiments = json.load(answer).get("experiments", [])
    if not experiments:
        raise SystemExit(f"{base} has no nlbench experiments. Run `nlbench sync` first.")
    return list(experiments)


def named(path: Path, part: str) -> Path:
    """Return the name of one picture."""
    return path.with_name(f"{path.stem}-{part}.png")


def save(page: Any, path: Path, *, full_page: bool) -> None:
    """Write a picture and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path), full_page=full_page)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
