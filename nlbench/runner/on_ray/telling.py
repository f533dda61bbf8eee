"""A cell's news on their way to the driver: few messages, in order, none lost at its end."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Any

from nlbench.runner.on_ray.post import News

_EVERY_S = 0.3


class Teller:
    """Sends a cell's progress, log and selector clock from a thread of its own.

    Of the progress only the latest of each stage is sent. `clock` is for `use_clock`.

    Args:
        post: The actor that takes news.
        fingerprint: Of the cell.
        log_level: Of what is sent of the log.
    """

    def __init__(self, post: Any, fingerprint: str, log_level: int) -> None:
        self.clock = [0.0, 0.0]
        self._post, self._fingerprint = post, fingerprint
        self._news: list[News] = []
        self._told = (0.0, False)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._send_often, daemon=True)
        self._handler = _ToDriver(self, log_level)

    def __enter__(self) -> Teller:
        logging.getLogger("nlbench").addHandler(self._handler)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        logging.getLogger("nlbench").removeHandler(self._handler)
        self._stop.set()
        self._thread.join()
        if (last := self._send()) is not None:
            import ray

            ray.get(last)  # before the result is home

    def tell(self, kind: str, content: Any) -> None:
        """Send something with the next message."""
        with self._lock:
            self._news.append(News(self._fingerprint, kind, content))

    def progress(self, stage: str, done: int, total: int) -> None:
        """Send how far the cell is; the step before is not sent any more if it still waits."""
        news = News(self._fingerprint, "progress", (stage, done, total))
        with self._lock:
            last = self._news[-1] if self._news else None
            if last is not None and last.kind == "progress" and last.content[0] == stage:
                self._news.pop()
            self._news.append(news)

    def _send_often(self) -> None:
        while not self._stop.wait(_EVERY_S):
            before, began = self.clock
            now = before + (time.monotonic() - began if began else 0.0), bool(began)
            if now != self._told:
                self.tell("clock", now)
                self._told = now
            self._send()

    def _send(self) -> Any:
        with self._lock:
            news, self._news = self._news, []
        return self._post.tell.remote(news) if news else None


class _ToDriver(logging.Handler):
    def __init__(self, teller: Teller, level: int) -> None:
        super().__init__(level)
        self._teller = teller

    def emit(self, record: logging.LogRecord) -> None:
        self._teller.tell("log", (record.name, record.levelno, self.format(record)))
