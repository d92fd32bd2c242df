"""What the prompts say that are made of tokens."""

from __future__ import annotations

import pandas as pd

from dpc.config.slices import ReportStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.table_text import CELL, Table, named_cells, plain
from dpc.report.tables.tuners_table import tuner_label


@table(
    category="1 Main results",
    caption="The prompts that are made of tokens, as text, with their loss on validation questions.",
    tables=("prompts",),
    of="recipes",
)
def texts(tables: Tables, settings: ReportStage) -> Table:
    """Return a row per discrete prompt of a model and dataset."""
    made = tables.labelled("prompts")
    columns = [*CELL, "seed", "tuner", "text", "validation_loss", "start_loss"]
    numbers = made.loc[made["text"].notna(), columns]
    return build(numbers.reset_index(drop=True), settings)


def build(numbers: pd.DataFrame, settings: ReportStage) -> Table:
    """Return the table for readers; `numbers` has a row per discrete prompt."""
    text = named_cells(numbers).assign(seed=numbers["seed"].astype(str))
    text["tuner"] = numbers["tuner"].map(tuner_label)
    text["prompt"] = ["“" + said.replace("\n", r"\n") + "”" for said in numbers["text"]]
    for name, head in (("validation_loss", "validation loss"), ("start_loss", "at its start")):
        text[head] = [plain(value, 3) for value in numbers[name]]
    found = wording.counted(len(numbers), "prompt") if len(numbers) else "No prompt"
    breaks = r" (\n: a line break)" * any("\n" in said for said in numbers["text"])
    caption = (
        f"{found} made of tokens, as the model's tokenizer writes them{breaks}; encoded again a text may be cut into "
        "other tokens. Validation loss: nats per token of gold rationales, of the prompt and of the one its search "
        f"began with (a dash: it looked at one prompt alone). {wording.run(settings)}"
    )
    return Table("texts", "What discrete prompts say", numbers, text, caption)
