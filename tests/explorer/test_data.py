"""What the page holds, and which cases: against the tables, without a browser."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpc.config.slices import ExplorerIndexStage
from dpc.errors import DpcError
from dpc.pipeline.stages import write_explorer, write_explorer_index
from dpc.report.explorer import choosing, page, pieces
from dpc.storage import tables
from tests.explorer.conftest import Made
from tests.support import explorer_cells
from tests.support.explorer_cells import HOSTILE, facts
from tests.support.report_samples import evaluation_rows


def data_of(file: Path) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', file.read_text(), re.DOTALL)
    return dict(json.loads(found))


def test_verdicts_of_the_whole_cell_stand_on_the_page(made: Made) -> None:
    data = data_of(made.page)
    assert [name for name, _ in data["about"]["plans"]] == ["no_prompt", "prompt_tuning", "dpc", "always"]
    counts = Counter(data["cell"]["plans"][2])
    known = [facts(number) for number in range(made.size.questions)]
    assert counts == Counter(str(int(one["dpc"]) + 2 * int(one["fired"])) for one in known)
    assert data["cell"]["base"].count("1") == sum(one["base"] for one in known)
    assert len(data["numbers"]) == made.size.kept


def test_a_text_cannot_end_the_element_that_holds_it(made: Made) -> None:
    text = page.html("a <b> & c", {"about": HOSTILE, "more": "</script><!--"})
    assert text.count("</script>") == 2
    assert "<title>a &lt;b&gt; &amp; c</title>" in text
    assert made.page.read_text().count("<script") == 2


def test_patterns_take_turns_and_none_is_lost() -> None:
    patterns = {f"q{n}": ("rare" if n < 3 else "common") for n in range(40)}
    found = choosing.in_turns(patterns)
    assert sorted(found) == sorted(patterns)
    assert Counter(patterns[key] for key in found[:6]) == {"rare": 3, "common": 3}
    assert choosing.in_turns(dict(reversed(patterns.items()))) == found


def test_pieces_of_tokens_are_the_text(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = "a 本 é🙂\n z"
    ids = tokenizer.encode(text).ids
    found = pieces.pieces(tokenizer, ids)
    assert ("".join(found), len(found)) == (text, len(ids))
    assert found[2:5] == ["", "", "本"], "the letter stands where its last byte does"


def test_the_nearest_token_of_a_scaled_row_of_the_embedding_is_that_token(tmp_path: Path) -> None:
    given = explorer_cells.make(tmp_path, explorer_cells.Size(questions=4))
    from dpc.storage import tokenizer_files

    tokenizer = tokenizer_files.words(given["model"])
    found = pieces.nearest(tokenizer, given["model"], given["prompt"].parent)
    assert len(found) == 8
    for row, j in enumerate(range(0, 8, 2)):
        word = tokenizer.decode([300 + row])
        assert found[j][0] == (word if word.strip() and "\ufffd" not in word else tokenizer.id_to_token(300 + row))


def test_an_answer_that_is_missing_is_named(tmp_path: Path) -> None:
    given = explorer_cells.make(tmp_path, explorer_cells.Size(questions=8))
    (file,) = given["regenerations"]
    rows = tables.read(file, "regenerations")
    tables.write(file, "regenerations", rows.iloc[1:], {})
    with pytest.raises(DpcError, match=f"no answer to {rows['problem_id'].iloc[0]} under edit"):
        write_explorer.run(**given, out=tmp_path / "explorer.html")


def test_a_page_is_made_alike_twice(tmp_path: Path, made: Made) -> None:
    given = explorer_cells.make(tmp_path, made.size)
    write_explorer.run(**given, out=tmp_path / "explorer.html")
    assert (tmp_path / "explorer.html").read_bytes() == made.page.read_bytes()


def test_the_index_links_every_cell_with_its_numbers(tmp_path: Path) -> None:
    lists = {"models": ["m"], "datasets": ["d<e>"], "recipes": ["a", "b"], "prompt_seeds": [0, 3]}
    files, summaries = [], []
    for number in range(4):
        summaries.append(pd.DataFrame(evaluation_rows(np.random.default_rng(number))))
        files.append(tmp_path / f"{number}.parquet")
        tables.write(files[-1], "evaluation", summaries[-1], {})
    write_explorer_index.run(ExplorerIndexStage(study="s", **lists), evaluations=files, out=tmp_path / "explorer.html")
    text = (tmp_path / "explorer.html").read_text()
    rows = re.findall(r'<th scope="row"><a href="(.*?)">(.*?)</a></th>(.*?)</tr>', text, re.DOTALL)
    assert [row[0] for row in rows] == [f"m/d&lt;e&gt;/{r}/seed{s}/explorer.html" for r in "ab" for s in (0, 3)]
    assert rows[1][1] == "m · d&lt;e&gt; · a · seed 3"
    numbers = [re.findall(r"<td[^>]*>(.*?)</td>", row[2]) for row in rows]
    for found, summary in zip(numbers, summaries, strict=True):
        dpc = summary.set_index("plan").loc["dpc"]
        assert found[-2:] == [str(int(dpc["fixed"])), str(int(dpc["broken"]))]
        assert f"{100 * dpc['accuracy']:.1f} %" in found
        assert found[1] == f"{100 * summary.set_index('plan').loc['no_prompt', 'accuracy_lenient']:.1f} %"
