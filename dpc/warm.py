"""Stages that begin in a process that has torch loaded: importing torch and transformers takes seconds.

`python -m dpc.warm -- COMMAND …` runs a command with a server beside it, for many small jobs on one machine: the server
loads them once and forks a child for every stage. `load_early` is for one job of a cluster: the process it starts loads
them while Snakemake still gets ready, and becomes the stage itself; nothing is forked, since CUDA outlives no fork.

Either imports the stage's own code then and does just what `python -m dpc` would have done, with the caller's
arguments, folder, environment and streams. The caller passes on the signals it gets; the stage ends with it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VARIABLE = "DPC_WARM"
"""Environment variable that names the server's socket."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""What keeps the hub's libraries off the network, from their import on: no stage uses it, `dpc.fetch` alone does."""
TORCH = (
    "torch", "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "pandas", "pyarrow.parquet", "pydantic",
)  # fmt: skip
DRAWING = (
    "scipy.stats", "tqdm", "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
)  # fmt: skip
PASSED_ON = (signal.SIGUSR1, signal.SIGTERM)
"""Warnings that a stage may save at (`stages/interrupt.py`); they reach its caller."""


def run_there(path: str, argv: list[str]) -> int | None:
    """Have the server at `path` run a stage; return its exit status, None where no server is (any more)."""
    request = {"argv": argv, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        except OSError:
            return None
        answers = connection.makefile()
        if stage := answers.readline():
            _pass_on(int(stage))
        status = answers.readline()
    return int(status) if status else 1


def _pass_on(stage: int) -> None:
    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stage, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Read one request, and the caller's three streams."""
    data, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    return json.loads(data), list(streams)


def _tell(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody may wait for the answer any more
        connection.sendall(f"{number}\n".encode())


def _be_stage(request: dict[str, Any], streams: list[int]) -> int:
    """Take the caller's place and run; return the exit status."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.environ.pop(VARIABLE)
        return int(importlib.import_module("dpc.cli").main(request["argv"]))
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # what the interpreter would do with it
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class _Server:
    """Accepts requests and forks; one connection per running stage."""

    def __init__(self, listener: socket.socket):
        self.listener, self.selector = listener, selectors.DefaultSelector()
        self.parent = os.getppid()
        self.selector.register(listener, selectors.EVENT_READ, None)
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, *_: object) -> None:
        """End, and take every running stage along."""
        for child in {key.data[0] for key in self.selector.get_map().values() if key.data}:
            os.kill(child, signal.SIGTERM)
        os._exit(0)

    def serve(self) -> None:
        """Work until the command's process is gone."""
        while os.getppid() == self.parent:
            for key, _ in self.selector.select(timeout=1.0):
                if key.data is None:
                    self._start(self.listener.accept()[0])
                elif key in self.selector.get_map().values():  # unless the event before it took it out
                    self._attend(key.fileobj, *key.data)
        self._leave()

    def _start(self, connection: socket.socket) -> None:
        request, streams = _receive(connection)
        child = os.fork()
        if child == 0:  # leaves without the server's clean-up
            os._exit(_be_stage(request, streams))
        _tell(connection, child)
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(child)
        for watched in (ended, connection):  # the child's end, or the caller's
            self.selector.register(watched, selectors.EVENT_READ, (child, ended, connection))

    def _attend(self, watched: object, child: int, ended: int, connection: socket.socket) -> None:
        """Tell the caller how its stage ended; a caller that is gone takes its stage with it."""
        if watched is connection:
            self.selector.unregister(connection)
            signal.pidfd_send_signal(ended, signal.SIGTERM)  # the stage may save before it ends: do not wait here
            return
        self.selector.unregister(ended)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(KeyError):  # the caller may have gone before
            self.selector.unregister(connection)
        _tell(connection, status)
        connection.close()
        os.close(ended)


def _load(modules: Iterable[str]) -> None:
    """Import modules; what they made is there to stay, so no garbage is looked for in it."""
    os.environ.update(OFFLINE)
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()


def _serve(listener: socket.socket) -> None:
    _load((*TORCH, *DRAWING))
    _Server(listener).serve()


def load_early() -> None:
    """Start a process that loads torch at once, and becomes the stage that this job will call."""
    folder = tempfile.mkdtemp(prefix="dpc-warm-")
    path = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(path)
        except OSError:  # a socket's path has 107 characters at most
            shutil.rmtree(folder)
            return
        listener.listen()
        command = [sys.executable, "-m", "dpc.warm", "--once", str(listener.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()])
    os.environ[VARIABLE] = path

    def tidy() -> None:
        process.terminate()
        process.wait()  # the stage may save before it ends
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(tidy)


def _once(listener: socket.socket) -> int:
    """Load torch, then be the stage of the first caller; return its exit status, 1 if none comes."""
    parent = os.getppid()
    _load(TORCH)
    while not select.select([listener], [], [], 1.0)[0]:
        if os.getppid() != parent:
            return 1
    connection = listener.accept()[0]
    listener.close()  # a second stage finds nobody, and runs where it was called
    request, streams = _receive(connection)
    _tell(connection, os.getpid())
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    status = _be_stage(request, streams)
    _tell(connection, status)
    return status


def _end_with(connection: socket.socket) -> None:
    """Ask this process to stop when the caller is gone."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(command: list[str]) -> int:
    """Run `command` with a server beside it; return its exit status."""
    with tempfile.TemporaryDirectory(prefix="dpc-warm-") as folder:
        path = str(Path(folder) / "socket")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(64)  # callers wait here while the server loads
        server = os.fork()
        if server == 0:
            _serve(listener)
            os._exit(0)
        listener.close()
        try:
            return subprocess.run(command, env={**os.environ, VARIABLE: path}, check=False).returncode
        finally:
            os.kill(server, signal.SIGTERM)
            os.waitpid(server, 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        os._exit(_once(socket.socket(fileno=int(sys.argv[2]))))
    if sys.argv[1:2] != ["--"] or len(sys.argv) < 3:
        sys.exit("usage: python -m dpc.warm -- COMMAND ...")
    sys.exit(main(sys.argv[2:]))
