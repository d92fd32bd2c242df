"""`python -m dpc.warm -- COMMAND …`: run a command, and start the stages it calls from a process that has torch loaded.

Importing torch and transformers takes seconds, more than most stages of the embedded study. The server loads them once
and forks a child for every stage; the child imports the project's own code anew and does just what `python -m dpc`
would have done, with the caller's arguments, folder, environment and streams. Server and children end with the command.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

VARIABLE = "DPC_WARM"
"""Environment variable that names the server's socket."""
PRELOADED = (
    "torch", "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "pandas", "pyarrow.parquet", "scipy.stats", "tqdm", "pydantic",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
)  # fmt: skip


def run_there(path: str, argv: list[str]) -> int:
    """Have the server at `path` run a stage; return its exit status."""
    request = {"argv": argv, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answer = connection.makefile().readline()
    return int(answer) if answer else 1


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Read one request, and the caller's three streams."""
    data, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    return json.loads(data), list(streams)


def _child(request: dict[str, Any], streams: list[int]) -> None:
    """Be the stage: take the caller's place, run, and leave without the server's clean-up."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.environ.pop(VARIABLE)
        main = importlib.import_module("dpc.cli").main
        status = main(request["argv"])
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


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
        if child == 0:
            _child(request, streams)
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
        with contextlib.suppress(OSError):  # nobody may wait for the answer any more
            connection.sendall(f"{status}\n".encode())
        connection.close()
        os.close(ended)


def _serve(listener: socket.socket) -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    _Server(listener).serve()


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
    if sys.argv[1:2] != ["--"] or len(sys.argv) < 3:
        sys.exit("usage: python -m dpc.warm -- COMMAND ...")
    sys.exit(main(sys.argv[2:]))
