"""The state of a tuning in one file, for a resume: tensors, and plain values in the header."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dpc.prompts.tuners import Tuning
from dpc.storage.files import atomic, remove_leftovers

log = logging.getLogger("dpc")


class Checkpoint:
    """The state of one tuning in `file`; a state that was kept in another `context` is not used."""

    def __init__(self, file: Path, context: str, every_seconds: float):
        self.file, self.context, self.every_seconds = Path(file), context, every_seconds
        self.saved, self.taken = time.monotonic(), b""

    def resume(self, tuning: Tuning) -> None:
        """Let `tuning` go on where the kept one was, if there is one."""
        if not self.file.exists():
            return
        try:
            with safe_open(self.file, "pt") as content:
                about = content.metadata() or {}
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        except SafetensorError as error:
            log.warning("%s: found no checkpoint (%s); the prompt is tuned from its first step", self.file, error)
            return
        if about.get("context") != self.context:
            log.info("%s was made with other code, settings, model or questions; tuning starts again", self.file)
            return
        tuning.resume(tensors, json.loads(about["values"]))
        log.info("%d steps were saved; continuing after them", tuning.step)

    def save(self, tuning: Tuning, now: bool = False) -> None:
        """Take the state of `tuning` as it is, and write it if it is time to or `now`."""
        tensors, values = tuning.state()
        about = {"context": self.context, "values": json.dumps(values)}
        self.taken = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, about)
        if now or time.monotonic() - self.saved >= self.every_seconds:
            self.write()

    def write(self) -> None:
        """Write the state that was taken last; where none was, what `resume` has read stays."""
        if self.taken:
            with atomic(self.file) as temporary:
                temporary.write_bytes(self.taken)
            self.saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file: what it was for is written."""
        self.file.unlink(missing_ok=True)
        remove_leftovers(self.file.parent, self.file.name)
