"""A real browser for tests marked `browser`: Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def unavailable(reason: str) -> None:
    """Skip at a desk; where tests are the gate (CI), a browser that is missing is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} CI must run these tests.")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright is missing: pip install -e '.[browser]'.")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("NLBENCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), "")
    if not program:
        unavailable("no Chromium: apt-get install chromium, or name one with NLBENCH_CHROMIUM.")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield launched
        launched.close()


class Tab:
    """A page with everything noted that a page of ours must never do."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(10_000)
        # What is timed are clicks: a busy machine may take its time to lay out 500 rows.
        context.set_default_navigation_timeout(60_000)
        self.context = context
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("request", self._request)
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error {error}"))
        self.page.on("console", self._console)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.wrong.append(f"request {request.url}")

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console {message.text}")

    def open(self, file: Path, fragment: str = "") -> Page:
        self.page.goto(file.as_uri() + fragment)
        return self.page


Open = Callable[..., Tab]


@pytest.fixture
def tab(browser: Browser) -> Iterator[Open]:
    """Return new tabs, each in a profile of its own; at the end none may have misbehaved."""
    tabs: list[Tab] = []

    def new(width: int = 1280, **options: Any) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        tabs.append(Tab(context))
        return tabs[-1]

    yield new
    for opened in tabs:
        opened.context.close()
    assert [wrong for opened in tabs for wrong in opened.wrong] == []


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    named = os.environ.get("NLBENCH_SCREENSHOTS")
    folder = Path(named) if named else tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def until(page: Page, expression: str) -> None:
    """Wait until JavaScript is true; Playwright's own wait is forbidden by a page's policy."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def serious(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:200]} ({len(v['nodes'])} places)"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
