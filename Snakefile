# The table of contents: configuration, rules, targets. Logic lives in the package `dpc`.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/problems.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/generations.smk"
include: "workflow/rules/act.smk"
include: "workflow/rules/saliency.smk"
include: "workflow/rules/verdicts.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/plans.smk"
include: "workflow/rules/thresholds.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/validate.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/mechanism.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/variants.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/login.smk"
include: "workflow/rules/hooks.smk"


rule all:
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
