"""A cell of a sweep as work for any executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from nlbench.config.code_versions import components_of
from nlbench.config.named_files import with_files_moved
from nlbench.config.run_config import DataConfig, RunConfig
from nlbench.plugins.registry import Component
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell, earlier_cell, outsiders, run_cell
from nlbench.runner.delivery import Delivery
from nlbench.runner.homecoming import Homecoming, OnSharedDisk, packed
from nlbench.runner.resuming import FOLDER
from nlbench.runner.work import Outcome, Status
from nlbench.runner.workplace import Progress, Workplace


@dataclass(frozen=True)
class CellWork:
    """A cell; see `Work`."""

    config: RunConfig

    @property
    def key(self) -> str:
        """The fingerprint of the run."""
        return self.config.fingerprint

    @property
    def dataset(self) -> DataConfig:
        """The data set of the run."""
        return self.config.dataset

    def outsiders(self) -> frozenset[str]:
        """Return the plugins that it runs and that nlbench does not ship."""
        return outsiders(self.config)

    def components(self) -> tuple[Component, ...]:
        """Return every component that it uses."""
        return components_of(self.config)

    def moved(self, move: Callable[[str], str]) -> CellWork:
        """Return the same run with its files elsewhere."""
        return CellWork(with_files_moved(self.config, move))

    def earlier(self, place: Workplace) -> Cell | None:
        """Return the cell where it is finished, or where its record must not be read."""
        return earlier_cell(self.config, place)

    def run(self, place: Workplace, progress: Progress) -> Cell:
        """Run the cell."""
        return run_cell(self.config, place, progress)

    def without_result(self, status: Status, message: str = "", *, is_lost: bool = False) -> Cell:
        """Return the cell as not done: one whose process died has failed."""
        return Cell(self.config, status, message=message)

    def packed(self, outcome: Outcome, store: RunStore) -> Delivery:
        """Return its record and files."""
        return packed(cast("Cell", outcome), store)

    def home(self, place: Workplace) -> Homecoming:
        """Return the driver's side, which has the run's claim."""
        return Homecoming(self.config, place)

    def shared_home(self, place: Workplace) -> OnSharedDisk:
        """Return the driver's side where the run itself has its claim."""
        return OnSharedDisk(self.config, place)

    def reached(self, place: Workplace) -> tuple[str, ...]:
        """Return the run's checkpoints."""
        folder = place.store.folder(self.key) / FOLDER
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = sorted((path.stat().st_mtime_ns, path.name) for path in paths)
        return (*(name for _, name in files), *(str(at) for at, _ in files))
