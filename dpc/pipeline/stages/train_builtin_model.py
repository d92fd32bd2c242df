"""Train the embedded model and write it as a model folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from dpc.config.execution import Execution
from dpc.config.slices import BuiltinModelStage
from dpc.config.stages import stage
from dpc.pipeline.progress import progress

STAGE = stage(version=1)


def run(settings: BuiltinModelStage, *, folder: Path, execution: Execution) -> None:
    """Write config, weights and tokenizer into `folder`; `config.json` comes last, so that it means complete."""
    from dpc.lm import builtin, models

    # it is too small for a card, and its job asks for none
    models.set_up_torch(execution.model_copy(update={"threads": execution.builtin_threads, "device": "cpu"}))
    with progress(settings.builtin.steps, "builtin model", "step") as bar:
        model = builtin.train(settings.builtin, lambda step, loss: bar.add(1, loss=loss))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving") as temporary:
        builtin.save(model, Path(temporary))
        for file in sorted(Path(temporary).iterdir(), key=lambda f: f.name == "config.json"):
            shutil.move(file, folder / file.name)
