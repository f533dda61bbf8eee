"""What a user says of the Ray cluster, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nlbench.errors import ConfigError, did_you_mean
from nlbench.runner.executors import SweepOrder


@dataclass(frozen=True)
class RayOptions:
    """The cluster, and what each cell takes of it.

    Attributes:
        address: "auto" for the cluster that this machine belongs to, "local" for one that ends
            with the sweep, or HOST:PORT or ray://HOST:PORT.
        cpus: Declared for each cell; also torch's threads for large data. None declares one, and
            leaves large data the driver's threads.
        gpus: Declared for each cell, such as 0.5 for two on a GPU; None takes one where `device`
            is a GPU or the cluster has any.
    """

    address: str = "auto"
    cpus: int | None = None
    gpus: float | None = None

    @classmethod
    def read(cls, order: SweepOrder) -> RayOptions:
        """Return the options of an order.

        Raises:
            ConfigError: if one is unknown or wrong.
        """
        unknown = set(order.options) - {"address", "cpus", "gpus"}
        if unknown:
            name = min(unknown)
            raise ConfigError(
                f"the ray executor has no option {name!r}. "
                f"{did_you_mean(name, ('address', 'cpus', 'gpus'))}"
            )
        if order.jobs is not None and order.jobs < 1:
            raise ConfigError(f"jobs must be a whole number >= 1, got {order.jobs}.")
        options = cls(**order.options)
        if not options.address.strip():
            raise ConfigError("--ray-address must be auto, local, HOST:PORT or ray://HOST:PORT.")
        if options.cpus is not None and options.cpus < 1:
            raise ConfigError(f"--ray-cpus must be a whole number >= 1, got {options.cpus}.")
        gpus = options.gpus
        if gpus is not None and not (0 <= gpus < math.inf and (gpus <= 1 or gpus == int(gpus))):
            raise ConfigError(f"--ray-gpus must be in [0, 1] or a whole number, got {gpus:g}.")
        if order.device.partition(":")[2]:
            raise ConfigError(
                f"--device {order.device}: Ray chooses the GPU of each cell. Use --device cuda."
            )
        return options

    @property
    def is_outside(self) -> bool:
        """Whether the cluster was there before the sweep, and stays."""
        return self.address != "local"
