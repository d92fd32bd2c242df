"""What captions say of the run and its settings stays true whatever is set."""

from types import SimpleNamespace

import jinja2
import pytest
import yaml

from dpc.config.settings import Corrupt, Flow, Locate, Trigger
from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.exhibits import FIGURES, TABLES
from dpc.storage.tables import SCHEMAS
from tests.support.paths import ROOT
from tests.support.report_samples import settings

REPORT = ROOT / "workflow/report"


def test_captions_say_in_words_what_dpc_does():
    assert wording.method(settings(TablesStage)) == (
        "DPC fires on an answer if more than a share R of the latter half's tokens get more flow from the prompt "
        "than κ = 1 times the former half's mean (flow: saliency per token, deep layers; R: per seed, chosen on "
        "calibration for most answers fixed minus broken; never below 4 tokens or without an answer). It multiplies "
        "the prompt vector with most saliency in the shallow layers by 0, multiplies the smallest Γ = 10 % of the "
        "other vectors' entries by 0 (smallest in absolute value), and answers again."
    )


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"trigger": Trigger(kappa=2, share=0.3)}, ["a share R = 0.3 of", "κ = 2 times"], ["chosen on"]),
        ({"trigger": Trigger(granularity="step", choose_by="youden")}, ["half's steps", "per step", "Youden's J"], []),
        ({"trigger": Trigger(choose_by="accuracy")}, ["the highest accuracy"], ["minus broken"]),
        (
            {"trigger": Trigger(baseline="constant")},
            ["in former halves of right calibration"],
            ["the former half's mean"],
        ),
        ({"trigger": Trigger(baseline="detrend")}, ["the former half's mean", "divided by the mean of right"], []),
        (
            {"trigger": Trigger(rule="share_and_accumulation", min_tokens=9)},
            ["and its accumulation is significant", "never below 9 tokens"],
            [],
        ),
        ({"locate": Locate(masked_vectors=3)}, ["the 3 prompt vectors with"], ["the prompt vector with"]),
        ({"corrupt": Corrupt(mask_value=0.5, gamma_scale=0.25)}, ["shallow layers by 0.5", "entries by 0.25"], []),
        ({"corrupt": Corrupt(mask="vocabulary_mean")}, ["It replaces", "by the vocabulary's mean"], ["layers by 0"]),
        ({"corrupt": Corrupt(mask="attention", gamma=0)}, ["It hides", "from attention (Γ = 0: nothing"], ["multipl"]),
        ({"corrupt": Corrupt(gamma=5, gamma_scope="all")}, ["smallest Γ = 5 % of all vectors' entries"], ["other"]),
        ({"corrupt": Corrupt(gamma_scope="located")}, ["of the located vectors' entries"], ["other"]),
        ({"corrupt": Corrupt(gamma_scope="per_vector")}, ["of each other vector's entries"], []),
    ],
)
def test_captions_stay_true_for_other_settings(changes, said, unsaid):
    caption = wording.method(settings(TablesStage, **changes))
    assert [phrase for phrase in said if phrase not in caption] == []
    assert [phrase for phrase in unsaid if phrase in caption] == []
    assert "Other than" not in caption


def test_captions_say_what_is_set_otherwise_than_by_default():
    changed = settings(
        TablesStage,
        flow=Flow(shallow_layers=[1, 2], deep_layers="all", halves="steps"),
        locate=Locate(receivers="rationale", masked_vectors=3),
    )
    assert wording.method(changed).endswith(
        " Other than the defaults: flow.shallow_layers [1, 2], flow.deep_layers all, flow.halves steps, "
        "locate.receivers rationale."
    )


def test_a_caption_names_the_layout_of_each_recipe_where_they_differ():
    same = settings(recipes=["good", "over"])
    assert wording.layout(same) == "[BOS if any, prompt, question]"
    mixed = settings(recipes=["good", "over"], layouts={"good": "bos_first", "over": "prompt_first"})
    assert wording.layout(mixed) == "[BOS if any, prompt, question] (good), [prompt, BOS if any, question] (over)"
    assert wording.first_vector(mixed) == "position 1 behind BOS, 0 without one (good), position 0 (over)"


def test_every_caption_says_that_splits_were_cut_from_test_rows():
    note = "All splits of aqua are cut from its test rows, by hash."
    for cut, is_said in (([], False), (["aqua", "math"], True)):
        assert (note in wording.run(settings(datasets=["gsm8k", "aqua"], cut_from_test=cut))) == is_said


def test_the_short_captions_of_the_report_render(tmp_path):
    """As the rules write them: what a figure or table declares, and the sentence of its scope."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    study = {"name": "demo", "models": ["toy"], "datasets": ["arithmetic"], "recipes": ["good"]}
    handed = {
        "config": {**config, "study": {**study, "prompt_seeds": [0, 1], "plans": ["dpc"]}},
        "wildcards": {"model": "toy", "dataset": "arithmetic", "recipe": "good"},
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for name in ("workflow", "of_cell", "of_recipes", "of_study", "of_validation"):
        text = environment.from_string((REPORT / f"{name}.rst").read_text()).render(
            snakemake=handed, files=[SimpleNamespace(path="r/summary.txt")]
        )
        assert "0, 1" in text
        assert "{{" not in text


@pytest.mark.parametrize("exhibits", [FIGURES, TABLES], ids=["figures", "tables"])
def test_every_figure_and_table_declares_what_the_report_shows(exhibits):
    for name, each in exhibits.items():
        assert (REPORT / f"of_{each.of}.rst").is_file(), name
        assert each.caption[-1] in ".?", name
        assert "{{" not in each.caption + each.note, name
        assert set(each.tables) <= set(SCHEMAS), name


def test_the_report_says_where_the_claims_stand():
    """A reader finds the table by its category."""
    assert f'claims table (under "{TABLES["claims"].category}"' in (REPORT / "workflow.rst").read_text()
