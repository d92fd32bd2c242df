"""The tables of a study: their numbers, their four forms, and the published values beside them."""

import itertools

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.studies import trigger_quality as trigger
from dpc.analysis.studies.outcomes import evaluate
from dpc.config.methods import Act
from dpc.config.slices import TablesStage
from dpc.report import published, render, table_text, wording
from dpc.report.cells import ACCURACIES, Tables
from dpc.report.making import write_tables
from dpc.report.tables import ablation_table, findings_table, main_table
from dpc.storage import tables
from tests.support.outcomes import ONE_PASS, STATISTICS, random_outcomes
from tests.support.report_samples import (
    PLANS,
    all_of,
    digest,
    evaluation_rows,
    finding_rows,
    outcome_rows,
    settings,
    table,
)


def tables_files(folder, chosen, rng):
    files = {"outcomes": [], "evaluation": [], "findings": []}
    cells = itertools.product(chosen.models, chosen.datasets, chosen.recipes, chosen.prompt_seeds)
    for number, _ in enumerate(cells):
        made = {
            "outcomes": outcome_rows(rng),
            "evaluation": evaluation_rows(rng),
            "findings": finding_rows(rng),
        }
        for name, rows in made.items():
            files[name].append(table(folder / f"{name}{number}.parquet", name, rows))
    return files


@pytest.fixture(scope="module", autouse=True)
def few_test_questions():
    """The samples have 40 test questions, which the published numbers are to stand beside all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(published.TEST_ROWS, "gsm8k", 40)
        yield


TABLES = ("main", "ablation", "cost", "findings")


@pytest.fixture(scope="module")
def tabled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    lists = {"models": ["llama3-8b", "toy_1"], "datasets": ["gsm8k"], "recipes": ["paper", "a&b"]}
    chosen = settings(TablesStage, prompt_seeds=[0, 5], **lists)
    files = tables_files(folder / "in", chosen, np.random.default_rng(0))
    write_tables(TABLES, Tables(all_of(files), chosen), folder / "out")
    return folder, chosen, files


def test_the_stage_writes_every_table_in_every_form(tabled):
    folder, chosen, files = tabled
    names = [f"{name}.{end}" for name in TABLES for end in ("tex", "csv", "md", "html")]
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(names)
    before = digest(folder / "out")
    write_tables(TABLES, Tables(all_of(files), chosen), folder / "again")
    assert digest(folder / "again") == before
    for name in TABLES:
        page = (folder / "out" / f"{name}.html").read_text()
        assert "prompt seeds 0, 5" in page
        assert "src=" not in page
        assert "href=" not in page
    assert "seconds" not in (folder / "out" / "ablation.csv").read_text()


def test_latex_is_escaped(tabled):
    for name in ("main", "ablation", "findings"):
        text = (tabled[0] / "out" / f"{name}.tex").read_text()
        assert r"a\&b" in text
        assert r"toy\_1" in text
        body = "\n".join(line.split("% needs")[0] for line in text.splitlines())
        assert not [c for c in body if ord(c) > 127]
        assert body.count("{") - body.count(r"\{") == body.count("}") - body.count(r"\}")
    assert render.escape_latex(r"50% of $5 & a_b {x} ~^\ #") == (
        r"50\% of \$5 \& a\_b \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \#"
    )


def test_web_pages_wrap_sentences_and_keep_intervals_whole():
    """What does not wrap pushes the columns behind it off the screen."""
    words = "a claim in many words, that would fill the screen if it could not wrap"
    text = pd.DataFrame([["m", "d", "r", words, "0.68 [0.57, 0.78]", "36.0 to 40.2", "3 of 12", "from here to there"]])
    text.columns = ["model", "dataset", "recipe", "claim", "value", "over seeds", "cut short", "why"]
    page = render.web_page(table_text.Table("x", "X", text, text, ""))
    style = page[: page.index("</style>")]
    assert [line for line in style.split("\n") if "nowrap" in line] == ["td.name, .whole { white-space: nowrap; }"]
    assert f'<td class="text long">{words}</td>' in page
    assert '<td>0.68 <span class="whole">[0.57, 0.78]</span></td>' in page
    assert '<td><span class="whole">36.0 to 40.2</span></td>' in page
    assert '<td><span class="whole">3 of 12</span></td>' in page
    assert '<td class="text">from here to there</td>' in page
    assert '<td class="text name">m</td>' in page


@pytest.mark.parametrize(("rows", "form"), [(5, "tabular"), (200, "longtable")])
def test_long_tables_break_over_pages(rows, form):
    cell = {"model": "m", "dataset": "d", "recipe": "r"}
    numbers = pd.DataFrame([{**cell, "plan": f"p{i}", "fired": i} for i in range(rows)])
    made = render.latex(table_text.Table("one", "One", numbers, numbers.astype(str), "Numbers."))
    assert f"\\begin{{{form}}}" in made
    assert made.count(r" \\") >= rows


def test_cells_of_the_paper_that_were_not_run_are_dashes_beside_its_numbers(tabled):
    folder = tabled[0]
    numbers = pd.read_csv(folder / "out" / "main.csv")
    absent = numbers[numbers["recipe"].isna()]
    assert len(absent) == 4 * (9 - 1)
    assert absent["accuracy"].isna().all()
    assert absent["published"].notna().all()
    line = next(line for line in (folder / "out" / "main.md").read_text().splitlines() if "mistral-7b" in line)
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "mistral-7b", "gsm8k", "–", "No prompt", "–", "–", "–", "–", "–", "37.9", "–",
    ]  # fmt: skip
    assert published.not_run(["toy"], ["gsm8k"]) == []
    assert published.not_run(["llama2-13b", "Llama3-8B", "mistral-7b"], ["gsm8k", "math", "aqua"]) == []


def test_differences_are_points_with_signs():
    assert table_text.points(0.021, -0.004, 0.046) == "+2.1 [−0.4, 4.6]"
    assert table_text.points(float("nan"), 0, 0) == "–"


def test_nothing_is_minus_zero():
    assert table_text.plain(-0.0004, 3) == wording.number(-0.0004, 3) == "0.000"
    assert table_text.plain(-0.0006, 3) == "−0.001"
    assert table_text.points(-0.0001, -0.02, 0.0004) == "+0.0 [−2.0, 0.0]"


def test_main_table_equals_hand_arithmetic(tabled):
    folder, _, files = tabled
    numbers = pd.read_csv(folder / "out" / "main.csv")
    row = numbers[(numbers["model"] == "llama3-8b") & (numbers["recipe"] == "a&b") & (numbers["plan"] == "dpc")].iloc[0]
    right, lenient = [], []
    for path in files["outcomes"][2:4]:
        rows = tables.read(path, "outcomes")
        right.append(rows.loc[rows["plan"] == "dpc", "correct"].sum() / 40)
        lenient.append(rows.loc[rows["plan"] == "dpc", "correct_lenient"].sum() / 40)
    assert (row["accuracy"], row["lenient"]) == pytest.approx((sum(right) / 2, sum(lenient) / 2))
    assert row["lenient"] != row["accuracy"]
    assert row["low"] < row["accuracy"] < row["high"]
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((min(right), max(right)))
    assert row["published"] == pytest.approx(0.676)
    gap = [row[f"difference{end}"] + 0.676 for end in ("", "_low", "_high")]
    assert gap == pytest.approx([row["accuracy"], row["low"], row["high"]])
    act = numbers[(numbers["model"] == "llama3-8b") & (numbers["plan"] == "act") & (numbers["dataset"] == "gsm8k")]
    assert act["accuracy"].isna().all()
    assert (act["published"] == 0.526).all()
    assert numbers.loc[numbers["model"] == "toy_1", "published"].isna().all()


def test_missing_cells_are_dashes(tabled):
    text = (tabled[0] / "out" / "main.md").read_text()
    act = next(line for line in text.splitlines() if line.startswith("| llama3-8b | gsm8k | paper | ACT"))
    assert act.split("|")[5:11] == [" – ", " – ", " – ", " – ", " – ", " 52.6 "]
    assert "A dash under accuracy: not run; under published and difference: nothing was published" in text


def main_rows(idle, mode="prefill_sets", model="mistral-7b", questions=40):
    """Return the rows of ACT and prompt tuning in the main table of one cell, and its caption."""
    chosen = settings(TablesStage, models=[model], datasets=["gsm8k"], plans=[*PLANS, "act"], act=Act(mode=mode))
    cell = {"model": model, "dataset": "gsm8k", "recipe": "good", "questions": questions, "low": 0.4, "high": 0.6}
    seeds = {"seed_low": 0.4, "seed_high": 0.6, "lenient": 0.7, "lenient_low": 0.6, "lenient_high": 0.8}
    rows = [
        {**cell, **seeds, "plan": plan, "accuracy": 0.5, "idle": idle, "answers": 120, "cut": 7}
        for plan in ("prompt_tuning", "act", "dpc")
    ]
    made = main_table.build(pd.DataFrame(rows), chosen)
    here = made.numbers["recipe"] == "good"  # the other rows are of published cells that did not run
    return made.text[here].set_index(made.numbers["plan"][here]), made


def test_a_prompt_that_changes_no_answer_says_so():
    cell = ("llama3-8b", "gsm8k", "good")
    chosen = settings(TablesStage, models=[cell[0]], datasets=[cell[1]], plans=PLANS)
    names = dict(zip(("model", "dataset", "recipe"), cell, strict=True))
    rows = pd.DataFrame([{**names, **dict.fromkeys(ACCURACIES, 0.5), "questions": 9, "plan": "prompt_tuning"}])
    for count, label in (
        (0, "Prompt tuning"),
        (1, "Prompt tuning (changes no answer in 1 of 3 seeds)"),
        (3, "Prompt tuning (changes no answer)"),
    ):
        text = main_table.build(rows, chosen, {cell: count}).text
        assert list(text["method"])[:4] == ["No prompt", label, "ACT", "DPC"]


def test_methods_that_fire_on_no_question_say_that_they_are_prompt_tuning():
    for idle, where in ((0, ""), (3, " ({}: prompt tuning)"), (2, " ({} in 2 of 3 seeds: prompt tuning)")):
        text, _ = main_rows(idle)
        assert text.loc["act", "method"] == "ACT" + where.format("no head confirmed")
        assert text.loc["dpc", "method"] == "DPC" + where.format("never fires")
        assert text.loc["act", "accuracy (%)"] == "50.0"
        assert text.loc["act", "read leniently (%)"] == "70.0 [60.0, 80.0]"
        assert text.loc["act", "cut short"] == "7 of 120"
        assert text.loc["prompt_tuning", "method"] == "Prompt tuning"


def test_published_act_of_mistral_was_not_applied():
    text, made = main_rows(0)
    assert text.loc["act", "published (%)"] == "49.5 (not applied)"
    assert text.loc["prompt_tuning", "published (%)"] == "49.5"
    assert made.numbers.query("recipe == 'good' and plan == 'act'")["source"].item() == "poster; ACT not applied"
    assert "ACT was not applied" in made.caption
    assert main_rows(0, model="llama3-8b")[0].loc["act", "published (%)"] == "52.6"


def test_other_test_questions_have_no_published_value_beside_them():
    text, made = main_rows(0, questions=39)
    assert (text["published (%)"] == "–").all()
    assert (text["ours − published (points)"] == "–").all()
    assert "Not compared: gsm8k was evaluated on 39 test questions, the published numbers on 40." in made.caption
    assert "Not compared" not in main_rows(0)[1].caption
    rows = evaluation_rows(np.random.default_rng(0), questions=39, plans=["prompt_tuning", "always"])
    labels = {"model": "llama3-8b", "dataset": "gsm8k", "recipe": "good", "seed": 0}
    none = pd.DataFrame(columns=[*table_text.CELL, "plan", "low", "high"])
    chosen = settings(TablesStage, models=["llama3-8b"], datasets=["gsm8k"], prompt_seeds=[0])
    made = ablation_table.build(rows.assign(**labels), none, chosen)
    assert made.numbers["published"].isna().all()
    assert "published (%)" not in made.text


def test_published_numbers_belong_to_the_whole_test_sets():
    for dataset, count in (("math", 5000), ("aqua", 254)):
        assert published.published("llama3-8b", dataset, "dpc", count) is not None
        assert published.published("llama3-8b", dataset, "dpc", 500) is None


def test_the_released_function_is_never_the_headline():
    text, made = main_rows(0, mode="released")
    assert text.loc["act", "accuracy (%)"] == "–"
    assert text.loc["act", "method"] == "ACT"
    assert "ACT ran as the published function" in made.caption
    rows = evaluation_rows(np.random.default_rng(0), plans=["prompt_tuning", "act"])
    labels = {"model": "toy", "dataset": "arithmetic", "recipe": "good", "seed": 0}
    none = pd.DataFrame(columns=[*table_text.CELL, "plan", "low", "high"])
    for mode, label in (("prefill_sets", "ACT"), ("released", "ACT (published function, for the record)")):
        chosen = settings(TablesStage, prompt_seeds=[0], act=Act(mode=mode))
        made = ablation_table.build(rows.assign(**labels), none, chosen)
        assert list(made.text["plan"]) == ["Prompt tuning", label]
        assert "ACT fires on every question if heads were confirmed" in made.caption


def test_ablation_table_equals_hand_arithmetic(tabled):
    folder, _, files = tabled
    numbers = pd.read_csv(folder / "out" / "ablation.csv")
    seeds = [tables.read(path, "evaluation").set_index("plan") for path in files["evaluation"][:2]]
    here = numbers[(numbers["model"] == "llama3-8b") & (numbers["recipe"] == "paper")].set_index("plan")
    for plan in ("dpc", "static_mask", "oracle_token"):
        assert here.loc[plan, "accuracy"] == pytest.approx(sum(s.loc[plan, "accuracy"] for s in seeds) / 2, rel=1e-5)
        assert here.loc[plan, "fixed"] == sum(s.loc[plan, "fixed"] for s in seeds)
        assert here.loc[plan, "tokens"] == pytest.approx(sum(s.loc[plan, "tokens"] for s in seeds) / 2, rel=1e-5)
    ps = [float(p) for p in here.loc["dpc", "mcnemar_p"].split("; ")]
    assert ps == pytest.approx([s.loc["dpc", "mcnemar_p"] for s in seeds], rel=1e-3)
    assert here.loc["always", "published"] == pytest.approx(0.658)
    assert list(here.index) == [*PLANS, "oracle_token"]


TOLD = ["correct", "correct_lenient", "fired"]


def seeds_that_fire(rates):
    """Return the evaluations of seeds whose DPC fires at these rates, and DPC's evidence of the same questions."""
    evaluations, evidence = [], []
    for seed, rate in enumerate(rates):
        rows = random_outcomes(seed, questions=50)
        dpc = rows["plan"] == "dpc"
        rows.loc[dpc, "fired"] = np.random.default_rng(seed).random(dpc.sum()) < rate
        labels = {"model": "toy", "dataset": "arithmetic", "recipe": "good", "seed": seed}
        evaluations.append(evaluate(rows, STATISTICS, ONE_PASS).assign(ineligible=seed, **labels))
        by = rows[rows["plan"] != "oracle_token"].pivot(index="problem_id", columns="plan", values=TOLD)
        evidence.append(
            pd.DataFrame(
                {"correct": by["correct", "prompt_tuning"], "correct_unprompted": by["correct_lenient", "no_prompt"],
                 "fired": by["fired", "dpc"], "affected_share": 0.5, "eligible": True, "split": "test", "seed": seed}
            ).reset_index()
        )  # fmt: skip
    return pd.concat(evaluations), pd.concat(evidence)


def ablation_of(evaluations, seeds):
    none = pd.DataFrame(columns=[*table_text.CELL, "plan", "low", "high"])
    made = ablation_table.build(evaluations, none, settings(TablesStage, prompt_seeds=list(range(seeds))))
    return made.numbers.set_index("plan"), made.text.set_index(made.numbers["plan"]), made.caption


@pytest.mark.parametrize("rates", [(0.2, 0.7, 0.0), (0.1, 0.9, 1.0), (0.3, 0.3, 0.3)])
def test_precision_and_recall_are_of_the_same_hits_and_as_in_the_trigger_table(rates):
    evaluations, evidence = seeds_that_fire(rates)
    numbers, _, caption = ablation_of(evaluations, len(rates))
    dpc, base = numbers.loc["dpc"], evaluations[evaluations["plan"] == "dpc"]
    for what, of in (("wrong", "wrong"), ("broken", "prompt_broke")):
        share = base[of].sum() / base["questions"].sum()
        assert dpc[f"precision_{what}"] * dpc["fire_rate"] == pytest.approx(dpc[f"recall_{what}"] * share)
    quality = trigger.quality(evidence, 0.95)
    quality = quality[quality["split"] == "test"].set_index(["target", "measure"])["value"]
    for what, measure in itertools.product(("wrong", "broken"), ("precision", "recall")):
        assert dpc[f"{measure}_{what}"] == pytest.approx(quality[what, measure])
    assert "pooled over seeds" in caption


def test_a_trigger_that_never_fires_finds_nothing():
    numbers, text, caption = ablation_of(seeds_that_fire((0.0, 0.0))[0], 2)
    assert np.isnan(numbers.loc["dpc", "precision_wrong"])
    assert numbers.loc["dpc", ["recall_wrong", "recall_broken"]].tolist() == [0, 0]
    assert text.loc["dpc", "precision / recall, wrong (%)"] == "– / 0"
    assert text.loc["prompt_tuning", "precision / recall, wrong (%)"] == "–"
    assert (numbers["ineligible"] == 0 + 1).all()
    assert "No answer, or fewer than 4 tokens: 1 of the 100 rationales per cell" in caption


def test_findings_say_what_is_not_estimable():
    chosen = settings(TablesStage, prompt_seeds=[3])
    labels = {"model": "toy", "dataset": "arithmetic", "recipe": "good", "seed": 3}
    made = findings_table.build(finding_rows(np.random.default_rng(0), known=False).assign(**labels), chosen)
    assert made.text["seed 3"].str.contains("not estimable").all()
    assert "1.36" in made.caption


def test_published_numbers_are_the_papers():
    nine = [(m, d) for m in ("llama2-13b", "llama3-8b", "mistral-7b") for d in ("gsm8k", "math", "aqua")]
    gains = [published.published(*c, "dpc").accuracy - published.published(*c, "prompt_tuning").accuracy for c in nine]
    assert (round(min(gains), 1), round(max(gains), 1)) == (1.4, 8.7)
    assert round(sum(gains) / 9, 1) == 3.2
    assert published.published("llama3-8b", "gsm8k", "nothing") is None
