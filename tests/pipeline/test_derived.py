"""The two stages that make tables for all later ones: the flow read off saliency, and verdicts on answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.readings.flow import Instance, column_saliency, late_flow
from dpc.analysis.readings.reading import TokenFlow, affected_tokens, readings
from dpc.analysis.studies.outcomes import grade, judged
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate, Trigger
from dpc.config.slices import GradeAnswersStage, ReadFlowStage
from dpc.errors import DpcError
from dpc.pipeline.stages import grade_answers, read_flow
from dpc.storage import tables
from dpc.tasks import get_task
from tests.support.report_samples import table
from tests.support.saliency_rows import Places, even_steps, generation, gold_of, random_maps, saliency_row

LAYERS, QUESTIONS = 5, 12
FLOWS = [Flow(), Flow(deep_layers=[1, 3], halves="steps"), Flow(shallow_layers=[0, 4])]
TRIGGERS = [Trigger(), Trigger(kappa=0.5, granularity="step"), Trigger(kappa=1.1)]


def split_of(number: int) -> str:
    return "calibration" if number % 3 == 0 else "test"


@pytest.fixture(scope="module")
def saliency() -> pd.DataFrame:
    """Random saliency of questions of several lengths; the band is the paper's layers of five, 0 to 2."""
    made = []
    for number in range(QUESTIONS):
        places = Places(4, 3, even_steps(3 + number, 1 + number % 5))
        maps, key = random_maps(number, LAYERS, places), f"q{number}"
        made.append(saliency_row(maps, places, key, split_of(number), band=range(3), prompt_start=number % 2))
    return pd.DataFrame(made)


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    answers = ["1", "0", None, "1.0", "7"]
    return pd.DataFrame([generation(f"q{n}", split_of(n), answers[n % 5]) for n in range(QUESTIONS)])


def flow_table(folder: Path, saliency: pd.DataFrame, made: pd.DataFrame, settings: ReadFlowStage) -> list[object]:
    """Run the stage on two shards."""
    shards = [table(folder / f"s{k}", "saliency", saliency.iloc[k::2]) for k in range(2)]
    answers = table(folder / "g", "generations", made)
    read_flow.run(settings, saliency=shards, generations=[answers], out=folder / "flow")
    return list(tables.scan(folder / "flow", "flow"))


@pytest.mark.parametrize("receivers", ["question_and_rationale", "rationale", "affected"])
@pytest.mark.parametrize("flow", FLOWS)
def test_readings_of_the_table_are_those_of_saliency(
    receivers: str, flow: Flow, saliency: pd.DataFrame, made: pd.DataFrame, tmp_path: Path
) -> None:
    if receivers == "affected" and flow.shallow_layers != "paper":
        return  # refused by the configuration: rows x columns are stored for one band
    locate = Locate.model_validate({"receivers": receivers, "masked_vectors": 2})
    rows = flow_table(tmp_path, saliency, made, ReadFlowStage(flow=flow, locate=locate))
    instances = {row.problem_id: Instance.of(row) for row in tables.rows(saliency)}
    for trigger in TRIGGERS:
        found = readings(rows, trigger, locate).set_index("problem_id")
        assert set(found.index) == set(instances)
        for key, one in instances.items():
            affected_T, share = affected_tokens(TokenFlow.of(one, flow), trigger)
            column_N = column_saliency(one, layer_range(flow.shallow_layers, LAYERS), receivers, affected_T)
            assert found.loc[key, "affected_share"] == share
            assert found.loc[key, "located"] == np.argsort(-column_N, kind="stable")[:2].tolist()
            assert found.loc[key, "accumulation"] == pytest.approx(column_N.max() / column_N.sum(), rel=1e-6)
            expected = late_flow(one, flow)
            assert found.loc[key, list(expected)].to_dict() == pytest.approx(expected, nan_ok=True)
        told = made.set_index("problem_id")["extracted"].notna() & (found["rationale_tokens"] >= trigger.min_tokens)
        assert found["eligible"].to_dict() == told.to_dict()


def test_questions_of_saliency_and_answers_must_be_the_same(
    saliency: pd.DataFrame, made: pd.DataFrame, tmp_path: Path
) -> None:
    settings = ReadFlowStage(flow=Flow(), locate=Locate())
    with pytest.raises(DpcError, match=r"2 generations have no saliency, e\.g\. q10"):
        flow_table(tmp_path, saliency.head(10), made, settings)
    assert not (tmp_path / "flow").exists()
    with pytest.raises(DpcError, match=r"saliency of q1. has no generation"):
        flow_table(tmp_path, saliency, made.head(10), settings)


def verdicts(folder: Path, made: pd.DataFrame, split: str, gold: pd.DataFrame, task: str = "gsm8k") -> pd.DataFrame:
    stage = GradeAnswersStage.model_validate({"task": task})
    paths = {"answers": [table(folder / "g", "generations", made)], "gold": table(folder / "gold", "gold", gold)}
    grade_answers.run(stage, **paths, split=split, out=folder / "verdicts")
    return tables.read(folder / "verdicts", "verdicts")


@pytest.mark.parametrize("split", ["calibration", "test"])
def test_verdicts_are_those_of_grading(split: str, made: pd.DataFrame, tmp_path: Path) -> None:
    again = made.assign(edit_id="e", extracted=made["extracted"].shift(1))
    every = pd.concat([made, again], ignore_index=True)
    own = every[every["split"] == split].reset_index(drop=True)
    gold = gold_of(sorted(set(own["problem_id"])))  # no more: a question of the other split has no gold here
    found = verdicts(tmp_path, every, split, gold)
    direct = grade(own, gold, get_task("gsm8k"))
    columns = ["problem_id", "edit_id", "answer", "correct", "correct_lenient", "grader"]
    pd.testing.assert_frame_equal(found[columns], direct[columns], check_dtype=False)
    assert set(found["steps"]) == {2}
    pd.testing.assert_frame_equal(judged(own, found), direct[[*own, *columns[2:]]], check_dtype=False)


def test_an_answer_without_gold_or_verdict_is_refused(made: pd.DataFrame, tmp_path: Path) -> None:
    own = made[made["split"] == "test"]
    gold = gold_of(sorted(own["problem_id"]))
    with pytest.raises(DpcError, match="gold: found no problem_id"):
        verdicts(tmp_path, made, "calibration", gold)
    found = verdicts(tmp_path, made, "test", gold)
    with pytest.raises(DpcError, match=r"4 answers have no verdict, e\.g\. one to q0; run grade_answers again"):
        judged(made, found)
