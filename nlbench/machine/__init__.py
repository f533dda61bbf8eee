"""What one run stands on: this machine, and the other processes of the same run; not a sweep's."""

from nlbench.machine.here import PeakMemory as PeakMemory
from nlbench.machine.here import cpu_name as cpu_name
from nlbench.machine.here import describe_environment as describe_environment
from nlbench.machine.here import deterministic_algorithms as deterministic_algorithms
from nlbench.machine.here import device_name as device_name
from nlbench.machine.here import has_bfloat16_tiles as has_bfloat16_tiles
from nlbench.machine.here import leaves_cores as leaves_cores
from nlbench.machine.here import memory_limit as memory_limit
from nlbench.machine.here import memory_limit_words as memory_limit_words
from nlbench.machine.here import package_versions as package_versions
from nlbench.machine.here import require_device_name as require_device_name
from nlbench.machine.here import resolve_device as resolve_device
from nlbench.machine.here import suitable_threads as suitable_threads
from nlbench.machine.here import takes_all_cores as takes_all_cores
