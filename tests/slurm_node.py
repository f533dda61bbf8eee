"""A real Slurm of one node: munge, slurmctld and slurmd, started in a temporary folder.

python tests/slurm_node.py COMMAND ...     # runs a command with this Slurm, and ends with its code

Debian's packages are enough: apt-get install munge slurmctld slurmd slurm-client. Nothing that is
installed or configured on the machine is touched: key, configuration, sockets, ports, state and
logs are of this Slurm alone, so that several of them run side by side. Jobs run as whoever
starts it, root or not. There are no cgroups in containers: Slurm counts processors and memory,
and does not enforce them.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = (
    "munged",
    "slurmctld",
    "slurmd",
    "sinfo",
    "sbatch",
    "squeue",
    "scontrol",
    "scancel",
    "setpriv",
)
_STARTS_S = 60.0  # for each daemon on a busy machine
_ENDS_S = 15.0
_N_CPUS = 4  # of the node; more than the machine may have, so that jobs run side by side

_CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={control_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
DefMemPerCPU=1000
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MaxArraySize=20001
MaxJobCount=30000
MinJobAge=300
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory=8000 Gres=gpu:2
PartitionName=usual Nodes=one Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=one MaxTime=INFINITE State=UP PriorityTier=2
"""


def missing_programs() -> list[str]:
    """Return the programs of Slurm that are not on the path."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


@dataclass(frozen=True)
class SlurmNode:
    """A Slurm that is up: its folder, with logs, and the environment that its commands need."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *words: str) -> str:
        """Return what a command of Slurm prints; its error is raised with its words."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=_STARTS_S
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()


@contextmanager
def one_node() -> Iterator[SlurmNode]:
    """Start a Slurm of one idle node; jobs, daemons and folder are gone afterwards.

    Raises:
        RuntimeError: if a daemon does not come up, with the end of its log.
    """
    # Not pytest's folder: the path of a socket may have 107 letters.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        node = SlurmNode(folder, _environment(folder))
        _write_files(folder)
        stack.enter_context(_daemon(node, _munged(folder)))
        _until(node, "munge", (folder / "munge.socket").exists)
        stack.enter_context(_daemon(node, ["slurmctld", "-D"]))
        _until(node, "slurmctld", lambda: "UP" in node.ask("scontrol", "ping"))
        stack.enter_context(_daemon(node, ["slurmd", "-D", "-N", "one"]))
        _until(node, "slurmd", lambda: node.ask("sinfo", "-h", "-o", "%T", "-p", "usual") == "idle")
        stack.callback(_end_jobs, node)
        yield node


def _write_files(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    folder.chmod(0o755)  # munge's clients must reach its socket
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    with ExitStack() as stack:  # both held until both are known, so that they differ
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        control_port, node_port = (port.getsockname()[1] for port in ports)
    text = _CONFIG.format(
        host=socket.gethostname().partition(".")[0],
        user=getpass.getuser(),
        folder=folder,
        control_port=control_port,
        node_port=node_port,
        n_cpus=_N_CPUS,
    )
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    # No GPUs, but two devices that every machine has: jobs ask for them and are told their numbers.
    devices = "".join(f"Name=gpu File={device}\n" for device in ("/dev/null", "/dev/zero"))
    (folder / "gres.conf").write_text(devices, encoding="utf-8")


def _munged(folder: Path) -> list[str]:
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{end}" for option, end in files.items()]
    # --force: the folder is under one that everybody may write to.
    return ["munged", "--foreground", "--force", "--num-threads=2", *options]


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def _environment(folder: Path) -> dict[str, str]:
    # A job that itself started this script must not be taken for the one of these jobs.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    return {**clean, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}


@contextmanager
def _daemon(node: SlurmNode, words: list[str]) -> Iterator[None]:
    log = node.folder / f"{words[0]}.out"
    with log.open("wb") as out:
        # However this process ends, they end with it.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *words],
            env=node.environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until(node: SlurmNode, what: str, is_up: Callable[[], bool]) -> None:
    latest = time.monotonic() + _STARTS_S
    while time.monotonic() < latest:
        try:
            if is_up():
                return
        except RuntimeError:
            pass  # not yet
        time.sleep(0.2)
    logs = (path.read_text(errors="replace")[-2000:] for path in node.folder.glob(f"{what}*.*"))
    raise RuntimeError(f"{what} did not come up in {_STARTS_S:g} s:\n" + "\n".join(logs))


def _end_jobs(node: SlurmNode) -> None:
    """Cancel what is left and wait until its processes have ended."""
    node.ask("scancel", "--full", f"--user={getpass.getuser()}")
    latest = time.monotonic() + _ENDS_S
    while time.monotonic() < latest and node.ask("squeue", "-h"):
        time.sleep(0.2)


def main() -> int:
    """Run the command that was given with a Slurm of its own."""
    if missing := missing_programs():
        print(f"not found: {', '.join(missing)}. apt-get install munge slurmctld slurmd "
              "slurm-client")  # fmt: skip
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing stays behind after it either
    with one_node() as node:
        return subprocess.run(sys.argv[1:] or ["sinfo"], env=node.environment).returncode


if __name__ == "__main__":
    sys.exit(main())
