"""What is shipped beside the code: the smallest real run, and what the workflow catalogue reads."""

from __future__ import annotations

import yaml

from dpc import estimate
from dpc.settings import Config, load_config
from tests import config_tree as tree
from tests.workflow import ROOT, overlay


def one_cell() -> Config:
    change = yaml.safe_load((ROOT / "workflow/one_cell.yaml").read_text())
    return load_config(overlay(tree.config(), change))


def test_one_cell_is_one_model_one_dataset_and_one_seed_in_a_gpu_day() -> None:
    config = one_cell()
    study = config.study
    assert len(study.models) == len(study.recipes) == len(study.prompt_seeds) == 1
    assert study.datasets == ["gsm8k"]
    assert config.models[study.models[0]].hub
    assert 0 < sum(line.hours for line in estimate.lines(config).values()) <= 24


def test_one_cell_compares_the_papers_methods_on_all_test_questions() -> None:
    config = one_cell()
    assert {"no_prompt", "prompt_tuning", "act", "dpc"} <= set(config.study.plans)
    assert config.datasets["gsm8k"].splits.test is None


def test_both_layouts_stand_side_by_side_with_the_same_recipes() -> None:
    change = [yaml.safe_load((ROOT / f"workflow/{name}.yaml").read_text()) for name in ("demo", "both_layouts")]
    config = load_config(overlay(overlay(tree.config(), change[0]), change[1]))
    assert sorted(config.layouts.values()) == ["bos_first"] * 2 + ["prompt_first"] * 2
    for name in ("well_tuned", "over_reaching"):
        other = config.recipes[f"{name}_prompt_first"]
        assert other.model_copy(update={"layout": None}) == config.recipes[name]


def test_the_catalogue_finds_its_files() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"]
    assert usage["report"]
    page = (ROOT / "config/README.md").read_text()
    for name in ("config.yaml", "workflow/one_cell.yaml", "workflow/demo.yaml"):
        assert (ROOT / name).is_file()
        assert name in page
    assert (ROOT / "workflow/Snakefile").is_file()
