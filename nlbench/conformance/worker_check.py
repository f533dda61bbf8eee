"""A selector once in a process of its own, as ``nlbench sweep --jobs 2`` runs it."""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from nlbench.conformance.harness import (
    ConformanceFailure,
    case_for,
    require_answer,
    require_same,
    select,
)
from nlbench.conformance.observe import observe
from nlbench.errors import text_of
from nlbench.machine import suitable_threads
from nlbench.plugins import registry
from nlbench.selector import AnySelector, Selection
from nlbench.surroundings import start_method

_PATIENCE_S = 300.0
_REMEDY = (
    "In a sweep with --jobs every process imports the plugin anew: define the class at the top of "
    "its module, and keep in it nothing that only the first process sets up."
)


@dataclass(frozen=True)
class _Request:
    """What another process needs to find a class: names only, no pickled code."""

    plugins: tuple[Path, ...]
    path: tuple[str, ...]
    module: str
    file: str | None
    name: str


def check_worker_process(selector_class: type[AnySelector]) -> None:
    """The selector gives the same answer in a process of its own.

    `nlbench sweep --jobs 2` runs each selector in a process that imports it anew.
    """
    answer = _ask(selector_class)
    if isinstance(answer, str):
        raise ConformanceFailure(
            f"the selector must run in a process of its own, got {answer} {_REMEDY}"
        )
    keep, score = (torch.from_numpy(array) for array in answer)
    second = Selection(keep=keep, score=score)
    first = observe(selector_class).answer()
    try:
        require_same(first, second, "it runs in a process of its own", _REMEDY)
    except ConformanceFailure:
        if _is_the_same_here(selector_class, first):
            raise  # else it is never the same, which another check says


def _is_the_same_here(selector_class: type[AnySelector], first: Selection) -> bool:
    again = select(selector_class, case_for(selector_class))
    return torch.equal(first.keep, again.keep) and torch.equal(first.score, again.score)


def _ask(selector_class: type[AnySelector]) -> Any:
    """Return keep and score from the other process, or what went wrong there."""
    module = sys.modules.get(selector_class.__module__)
    request = _Request(
        plugins=registry.plugin_files(),
        path=tuple(sys.path),
        module=selector_class.__module__,
        file=getattr(module, "__file__", None),
        name=selector_class.__qualname__,
    )
    worker = _Worker.of_this_process()
    try:
        worker.line.send(request)
        if not worker.line.poll(_PATIENCE_S):
            worker.end()
            return f"no answer in {_PATIENCE_S:g} s."
        return worker.line.recv()
    except (EOFError, OSError):
        worker.end()
        return (
            f"a process that ended with exit code {worker.process.exitcode}; what it said is "
            "above. A script needs `if __name__ == '__main__':` around what it runs."
        )


class _Worker:
    """One process for all checks of this one: starting it costs seconds."""

    _current: _Worker | None = None

    def __init__(self) -> None:
        # A fresh interpreter, as the workers of a sweep are.
        context = multiprocessing.get_context("spawn")
        self.line, its_end = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(its_end, start_method()))
        self.process.start()
        its_end.close()
        atexit.register(self.end)

    @classmethod
    def of_this_process(cls) -> _Worker:
        if cls._current is None or not cls._current.process.is_alive():
            cls._current = cls()
        return cls._current

    def end(self) -> None:
        atexit.unregister(self.end)
        self.line.close()
        self.process.join(0.5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        if _Worker._current is self:
            _Worker._current = None


def _serve(line: Connection, method: str) -> None:
    """Answer requests until the line is closed."""
    # As in the parent, and as in the workers of a sweep: a selector may have processes of its own.
    multiprocessing.set_start_method(method, force=True)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            request: _Request = line.recv()
            try:
                line.send(_answer(request))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                last = "".join(part[:2000] for part in traceback.format_exception(error)[-2:])
                text = f"{type(error).__name__} there: {text_of(error)}"
                line.send(f"{text}\n{last.strip()}\n")


def _answer(request: _Request) -> Any:
    selector_class = _loaded(request)
    with suitable_threads(torch.device("cpu"), n_values=0):
        case = case_for(selector_class)
        selection = require_answer(select(selector_class, case), case.data)
    return selection.keep.numpy(), selection.score.detach().cpu().numpy()


def _loaded(request: _Request) -> type[AnySelector]:
    sys.path[:] = request.path
    registry.rediscover()
    registry._plugin_files.clear()  # an earlier request may have had another file of that name
    for file in request.plugins:
        registry.add_plugin_file(file)
    for component in registry.components("selectors").values():
        if component.is_loose and component.module == request.module:
            loaded: type[AnySelector] = component.load()
            return loaded
    # What a script runs has another name in the processes that it starts.
    name = "__mp_main__" if request.module == "__main__" else request.module
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != request.file:
        del sys.modules[name]  # another file of that name, from an earlier request
    importlib.invalidate_caches()
    cls: type[AnySelector] = attrgetter(request.name)(importlib.import_module(name))
    return cls
