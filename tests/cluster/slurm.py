"""A private Slurm on this machine's loopback: several virtual nodes, pretended GPUs, gone when the tests are.

It needs Debian's `slurm-wlm` and `munge` and no rights beyond the user's own. Every daemon runs in the foreground as
a child of the tests, with its own configuration, ports, keys and state; two clusters at once do not meet.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster import processes

SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"
CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
DAEMONS = ("munged", "slurmctld", "slurmd")
GPU_NODES, CPU_NODES = ("g1", "g2"), ("c1",)
CONFIGURATION = """
ClusterName=dpctest
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={state}/munge/socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmctldPidFile={state}/controller.pid
SlurmdPidFile={state}/%n.pid
SlurmdSpoolDir={state}/spool.%n
SlurmdLogFile={state}/log/%n.log
SlurmdParameters=config_overrides
StateSaveLocation={state}/controller
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0,defer_batch
PropagateResourceLimits=NONE
ReturnToService=2
EnforcePartLimits=ALL
SlurmctldTimeout=30
SlurmdTimeout={node_timeout}
InactiveLimit=0
KillWait=3
MinJobAge=300
JobRequeue=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes={cpu_nodes} Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes={gpu_nodes} MaxTime=1-00:00:00 State=UP
"""

IMPATIENT = """
import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main

plugin.Executor.next_seconds_between_status_checks = property(lambda self: 2.0, lambda self, seconds: None)
main()
"""
"""The command `snakemake`, but it looks at Slurm every two seconds; else it waits ten more after every look in vain."""


def missing() -> str:
    """Say in one line what is to be installed; nothing where Slurm is here."""
    absent = [name for name in (*CLIENTS, *DAEMONS) if not shutil.which(name, path=SBIN)]
    how = "install Debian's slurm-wlm and munge (apt-get install slurm-wlm munge)"
    return f"found no {', '.join(absent)}: {how}" if absent else ""


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for `done`. Raises TimeoutError that names `what`."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """One controller, one CPU node, two GPU nodes with one pretended GPU each; `state` holds all of it."""

    def __init__(self, state: Path, node_timeout: int = 10):
        self.state, self.node_timeout = state, node_timeout
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.file = state / "slurm.conf"
        self.guard: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which Slurm's commands mean this cluster."""
        own = [self.state / "bin", Path(sys.executable).parent]
        path = os.pathsep.join([*map(str, own), os.environ["PATH"], SBIN])
        return {**os.environ, "SLURM_CONF": str(self.file), "PATH": path}

    def start(self) -> None:
        """Bring everything up. Raises TimeoutError if the nodes do not become idle."""
        for folder in ("munge", "controller", "bin", "log", *(f"spool.{node}" for node in GPU_NODES + CPU_NODES)):
            (self.state / folder).mkdir(parents=True)
        (self.state / "munge").chmod(0o711)
        self._configure()
        command = [sys.executable, processes.__file__, str(self.file)]
        self.guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._start_munge()
        self.start_controller()
        for node in GPU_NODES + CPU_NODES:
            self._start("slurmd", node, "-D", "-N", node, "-f", str(self.file))
        wait_until(lambda: self.idle() == set(GPU_NODES + CPU_NODES), 30, "all nodes idle")

    def _configure(self) -> None:
        ports = _free_ports(1 + len(GPU_NODES + CPU_NODES))
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=200000 State=UNKNOWN"
            + (" Gres=gpu:1" if node in GPU_NODES else "")
            for node, port in zip(GPU_NODES + CPU_NODES, ports[1:], strict=True)
        ]
        text = CONFIGURATION.format(
            host=host,
            user=getpass.getuser(),
            state=self.state,
            controller_port=ports[0],
            node_timeout=self.node_timeout,
            nodes="\n".join(nodes),
            cpu_nodes=",".join(CPU_NODES),
            gpu_nodes=",".join(GPU_NODES),
        )
        self.file.write_text(text)
        # a GPU must be a character device; nobody opens it
        gpus = [f"NodeName={node} AutoDetect=off Name=gpu File=/dev/null\n" for node in GPU_NODES]
        (self.state / "gres.conf").write_text("".join(gpus))
        for client in CLIENTS:  # Snakemake's plugin drops SLURM_CONF inside jobs; a site has /etc/slurm/slurm.conf
            shim = self.state / "bin" / client
            shim.write_text(f'#!/bin/sh\nSLURM_CONF={self.file} exec {shutil.which(client, path=SBIN)} "$@"\n')
            shim.chmod(0o755)
        impatient = self.state / "bin" / "snakemake"
        impatient.write_text(f"#!{sys.executable}\n{IMPATIENT}")
        impatient.chmod(0o755)

    def _start_munge(self) -> None:
        folder = self.state / "munge"
        (folder / "key").write_bytes(secrets.token_bytes(128))
        (folder / "key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        self._start("munged", "munge", "--foreground", "--force", *options)
        wait_until((folder / "socket").exists, 10, "munge")

    def _start(self, program: str, name: str, *arguments: str) -> None:
        command = [str(shutil.which(program, path=SBIN)), *arguments]
        with (self.state / "log" / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_controller(self) -> None:
        """Start the controller; what it knew before is read back."""
        self._start("slurmctld", "controller", "-D", "-f", str(self.file))

    def stop_daemon(self, name: str, sign: int = signal.SIGTERM) -> None:
        """End one daemon: `controller`, `munge` or a node's name."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(sign)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(10)

    def ask(self, *command: str) -> str:
        """Return what a Slurm command prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout

    def idle(self) -> set[str]:
        """Return the nodes that wait for work."""
        return set(self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())

    def queued(self) -> list[str]:
        """Return the ids of all jobs that have not ended."""
        return self.ask("squeue", "-h", "-o", "%i").split()

    def jobs(self) -> list[dict[str, str]]:
        """Return what the controller knows of every job, ended ones included: `scontrol show job` as maps."""
        lines = self.ask("scontrol", "show", "job", "--oneliner").splitlines()
        return [dict(re.findall(r"(\S+?)=(.*?)(?=\s+\S+?=|\s*$)", line)) for line in lines if line.startswith("JobId=")]

    def processes(self) -> set[int]:
        """Return every process of this cluster and its jobs."""
        return processes.members(self.file)

    def crash(self, node: str) -> None:
        """Stop a node's daemon and everything that runs on it at once, as a power cut would, and then kill it."""
        daemon = self.daemons.pop(node)
        stopped = {daemon.pid}
        processes.send(stopped, signal.SIGSTOP)  # nothing that is killed first may be reported by what lives on
        while new := processes.of_node(self.file, node) - stopped:
            processes.send(new, signal.SIGSTOP)
            stopped |= new
        processes.send(stopped, signal.SIGKILL)
        daemon.wait(10)

    def stop(self) -> None:
        """End all jobs and daemons; nothing of this cluster runs afterwards."""
        if "controller" in self.daemons:
            if jobs := self.queued():
                self.ask("scancel", *jobs)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not self.queued(), 10, "jobs cancelled")
        for name in ("controller", *(GPU_NODES + CPU_NODES), "munge"):
            if name in self.daemons:
                self.stop_daemon(name)
        processes.end(self.file)
        if self.guard:
            self.guard.communicate()


@contextlib.contextmanager
def running(state: Path, node_timeout: int = 10) -> Iterator[Cluster]:
    """Yield a running cluster whose files lie in the new folder `state`."""
    cluster = Cluster(state, node_timeout)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
