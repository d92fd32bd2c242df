"""What is shipped beside the code: the smallest real run, and what the workflow catalogue reads."""

from __future__ import annotations

import os
import re
import shlex
from argparse import Namespace
from functools import cache

import pytest
import yaml
from snakemake.cli import parse_args

from dpc.config.settings import Config, load_config
from dpc.config.stages import RULES
from dpc.pipeline import command_line, cost, estimate
from tests.support import config_tree as tree
from tests.support.paths import ROOT
from tests.support.workflow import overlay, rules


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


PAGES = [
    "README.md", "config/README.md",
    *(f"docs/{name}.md" for name in ("quickstart", "cluster", "choices", "findings/README", "rows")),
    *(f"workflow/{name}.yaml" for name in ("demo", "one_cell", "small_model", "both_layouts", "own")),
]  # fmt: skip


@cache
def commands() -> dict[str, Namespace]:
    """Return every command line of Snakemake that a page prints with an option, and what Snakemake reads in it."""
    text = "\n".join((ROOT / page).read_text() for page in PAGES)
    lines = re.findall(
        r"(?:^|^# +|`|: )snakemake ((?:\w+ )*--?\w[^`#\n]*)", text.replace("\nmine.", " mine."), re.MULTILINE
    )
    found = {}
    for line in map(str.strip, lines):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)  # where its profile is
            patch.setattr("sys.argv", ["snakemake", *shlex.split(line.replace("mine.yaml", "workflow/own.yaml"))])
            found[line] = parse_args(shlex.split(line))[1]
    return found


def test_every_printed_command_says_how_many_cores_and_takes_no_target_for_a_configuration() -> None:
    assert len(commands()) > 10
    for line, read in commands().items():
        assert read.cores or read.dryrun or read.profile or read.report, line
        for file in read.configfile or []:
            assert file.suffix == ".yaml", line
            assert file.name == "mine.yaml" or (ROOT / file).is_file(), line


def test_a_printed_command_that_runs_on_this_machines_card_runs_one_job_there_at_a_time() -> None:
    """The rules say so where it `is_here`; the profile says how many cores, unless the command does."""
    here = {line: read for line, read in commands().items() if "--profile" not in line}
    assert all(command_line.is_here(shlex.split(line)) for line in here)
    alone = [read for line, read in here.items() if not re.search("--(cores|jobs)|-n ", line)]
    assert len(alone) > 5
    assert {read.cores for read in alone} == {os.cpu_count()}


@pytest.mark.parametrize("target", ["check", "estimate"])
def test_the_targets_for_the_login_node_are_printed_before_their_settings_file(target: str) -> None:
    assert [line for line, read in commands().items() if target in read.targets and read.configfile]


def test_the_settings_to_copy_are_settings() -> None:
    change = yaml.safe_load((ROOT / "workflow/own.yaml").read_text())
    config = load_config(overlay(tree.config(), change))
    assert (config.study.models, config.study.datasets, len(config.study.prompt_seeds)) == (
        ["mymodel"],
        ["myquestions"],
        3,
    )
    brought = yaml.safe_load(re.sub(r"(?m)^  # (?= *\w+:)", "  ", (ROOT / "workflow/own.yaml").read_text()))
    assert load_config(overlay(tree.config(), brought)).recipes["brought"].layout == "prompt_first"


def test_only_rules_that_can_save_are_warned_of_their_time_limit() -> None:
    """And just those with a rate ask for a card, as the cluster page says."""
    torch = {name: body for name, body in rules().items() if "torch_job(" in body}
    assert set(torch) == set(cost.RATES)
    saving = {name for name, body in torch.items() if "--store" in body or "--checkpoint" in body}
    assert saving == {name for name in torch if RULES[name].saves}
    (on_card,) = re.findall(r"^\| (.*) \| yes \|", (ROOT / "docs/cluster.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"\w+", on_card)) == set(torch)


def test_the_catalogue_finds_its_files() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"]
    assert usage["report"]
    page = (ROOT / "config/README.md").read_text()
    for name in ("config.yaml", "workflow/one_cell.yaml", "workflow/demo.yaml"):
        assert (ROOT / name).is_file()
        assert name in page
    assert (ROOT / "workflow/Snakefile").is_file()
