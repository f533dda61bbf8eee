"""Label noise; its parts move here."""

from nlbench.noise.kinds import *  # noqa: F403
