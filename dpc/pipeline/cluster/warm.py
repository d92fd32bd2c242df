"""Stages that begin in a process that has torch loaded: importing torch and transformers takes seconds.

`python -m dpc.pipeline.cluster.warm -- COMMAND …` runs a command with a server beside it, for many small
jobs on one machine: the server loads them once and forks a child for every stage. `load_early` is for one job of a
cluster: the process it starts loads them while Snakemake still gets ready, and becomes the stage itself; nothing is
forked, since CUDA outlives no fork.

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

from dpc.pipeline.cluster.causes import KILLED
from dpc.storage.offline import OFFLINE

VARIABLE = "DPC_WARM"
"""Environment variable that names the server's socket."""
TORCH = (
    "torch", "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "pandas", "pyarrow.parquet", "dpc.pipeline.cli",
)  # fmt: skip
DRAWING = (
    "scipy.stats", "tqdm", "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
)  # fmt: skip
PASSED_ON = (signal.SIGUSR1, signal.SIGTERM)
"""Warnings that a stage may save at (`stages/interrupt.py`); they reach its caller."""


def run_there(path: str, argv: list[str]) -> int | None:
    """Have the server at `path` run a stage; return its exit status, None where no server begins with it."""
    request = {"argv": argv, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
            answers = connection.makefile()
            if not answers.readline():
                return None
        except OSError:
            return None
        for number in PASSED_ON:
            signal.signal(number, lambda n, _: _tell(connection, n))
        with contextlib.suppress(OSError):
            if status := answers.readline():
                return int(status) if int(status) >= 0 else 128 - int(status)
    print(f"error: {KILLED}", file=sys.stderr)
    return 128 + signal.SIGKILL


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Read one request and the caller's three streams, and say that the stage begins; None if the caller is gone."""
    try:
        data, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        while not data.endswith(b"\n"):
            more = connection.recv(1 << 20)
            if not more:
                return None
            data += more
    except OSError:
        return None
    _tell(connection, os.getpid())
    return json.loads(data), list(streams)


def _tell(connection: socket.socket, number: int) -> None:
    """Send one line: that the stage begins, its exit status, or a signal for it."""
    with contextlib.suppress(OSError):  # nobody may be there any more
        connection.sendall(f"{number}\n".encode())


def _signals(connection: socket.socket) -> list[int]:
    """Return the signals that the caller passes on; SIGTERM where it is gone."""
    data = b""
    with contextlib.suppress(OSError):
        data = connection.recv(64)
    return [int(number) for number in data.split()] or [signal.SIGTERM]


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
        tempfile.tempdir = None  # it was found in another environment
        return int(importlib.import_module("dpc.pipeline.cli").main(request["argv"]))
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
        received = _receive(connection)
        if received is None:
            connection.close()
            return
        request, streams = received
        child = os.fork()
        if child == 0:  # leaves without the server's clean-up
            os._exit(_be_stage(request, streams))
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(child)
        for watched in (ended, connection):  # the child's end, or the caller's
            self.selector.register(watched, selectors.EVENT_READ, (child, ended, connection))

    def _attend(self, watched: object, child: int, ended: int, connection: socket.socket) -> None:
        """Tell the caller how its stage ended; a caller that is gone takes its stage with it."""
        if watched is connection:
            numbers = _signals(connection)
            for number in numbers:
                signal.pidfd_send_signal(ended, number)
            if signal.SIGTERM in numbers:
                self.selector.unregister(connection)  # the stage may save before it ends: do not wait here
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


def load_early(threads: int) -> None:
    """Start a process that loads torch at once, and becomes the stage that this job will call with so many threads.

    Where that cannot be (no room, no process, a path of more than 107 characters), the stage loads torch itself.
    """
    with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
        folder = tempfile.mkdtemp(prefix="dpc-warm-")
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        process = _listening(f"{folder}/socket", threads)
        os.environ[VARIABLE] = f"{folder}/socket"
        undo.pop_all()
        atexit.register(_end, process, folder)


def _listening(path: str, threads: int) -> subprocess.Popen[bytes]:
    counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        command = [
            sys.executable,
            "-m",
            "dpc.pipeline.cluster.warm",
            "--once",
            str(listener.fileno()),
            str(Path(path).parent),
        ]
        environment, kept = {**os.environ, **counts}, [listener.fileno()]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=kept, env=environment)


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    process.terminate()
    process.wait()  # the stage may save before it ends
    shutil.rmtree(folder, ignore_errors=True)


def _once(listener: socket.socket, folder: str) -> int:
    """Load torch, then be the stage of the first caller; return its exit status, 1 if none comes."""
    parent = os.getppid()
    _load(TORCH)
    received = None
    while received is None and os.getppid() == parent:
        if select.select([listener], [], [], 1.0)[0]:
            connection = listener.accept()[0]
            received = _receive(connection)
    listener.close()  # a second stage finds nobody, and runs where it was called
    shutil.rmtree(folder, ignore_errors=True)
    if received is None:
        return 1
    threading.Thread(target=_heed, args=(connection, parent), daemon=True).start()
    status = _be_stage(*received)
    _tell(connection, status)
    return status


def _heed(connection: socket.socket, parent: int) -> None:
    """Do to this process what the caller's signals would do; ask it to stop when caller or parent is gone."""
    is_over = False
    while not is_over:
        has_news = bool(select.select([connection], [], [], 1.0)[0])
        numbers = _signals(connection) if has_news else [signal.SIGTERM] if os.getppid() != parent else []
        for number in numbers:
            os.kill(os.getpid(), number)
        is_over = signal.SIGTERM in numbers


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
        os._exit(_once(socket.socket(fileno=int(sys.argv[2])), sys.argv[3]))
    if sys.argv[1:2] != ["--"] or len(sys.argv) < 3:
        sys.exit("usage: python -m dpc.pipeline.cluster.warm -- COMMAND ...")
    sys.exit(main(sys.argv[2:]))
