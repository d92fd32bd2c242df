# Nouns to type: `snakemake saliency` runs everything up to the saliency tables. Rules that do the work are verbs.


localrules:
    problems,
    models,
    prompts,
    generations,
    act,
    saliency,
    study,
    plans,
    regenerations,
    thresholds,
    evaluation,
    evidence,
    tuners,
    figures,
    tables,
    explorer,
    mechanism,
    interpretability,
    causal,
    validate,
    check,
    estimate,
    took,
    findings,


rule problems:
    input:
        expand(f"{R}/problems/{{dataset}}/questions.parquet", dataset=STUDY.datasets),


rule models:
    input:
        [model_ready(SimpleNamespace(model=name)) for name in STUDY.models],


rule prompts:
    input:
        cell_files("prompt/adapter_model.safetensors"),


rule generations:
    input:
        all_shards("generations"),
        all_shards("unprompted"),


rule act:
    input:
        all_shards("act_generations"),


rule saliency:
    input:
        all_shards("saliency"),


rule study:
    input:
        cell_files("study/findings.parquet"),


rule plans:
    input:
        cell_files(*[f"plans/{part}.parquet" for part in PARTS]),


rule regenerations:
    input:
        all_shards("regenerations", *PARTS),


rule thresholds:
    input:
        cell_files("thresholds.parquet"),


rule evaluation:
    input:
        cell_files("evaluation/evaluation.parquet"),


rule evidence:
    input:
        cell_files("study/evidence.parquet", "study/sensitivity.parquet", "variants/variants.parquet"),


rule mechanism:
    input:
        cell_files("mechanism/mechanism.parquet"),


rule interpretability:
    input:
        cell_files("interpretability.parquet"),


rule causal:
    input:
        cell_files("causal.parquet"),


# How the prompts of all recipes compare, without figures and tables of the whole study: few stages run up to there.
rule tuners:
    input:
        expand(
            f"{R}/figures/{{model}}/{{dataset}}/{{name}}.html",
            model=STUDY.models,
            dataset=STUDY.datasets,
            name=exhibits.of("recipes", exhibits.TABLES),
        ),


rule figures:
    input:
        expand(
            f"{FIGURE_FOLDER}/{{name}}.svg",
            model=STUDY.models,
            dataset=STUDY.datasets,
            recipe=STUDY.recipes,
            name=exhibits.of("cell", exhibits.FIGURES),
        ),
        expand(
            f"{R}/figures/{{model}}/{{dataset}}/{{name}}.svg",
            model=STUDY.models,
            dataset=STUDY.datasets,
            name=exhibits.of("recipes", exhibits.FIGURES),
        ),


rule tables:
    input:
        expand(f"{R}/tables/{{name}}.html", name=exhibits.of("study", exhibits.TABLES)),
        rules.tuners.input,


rule explorer:
    input:
        rules.write_explorer_index.output,
        cell_files("explorer.html"),


rule validate:
    input:
        rules.write_validation.output,


# For the login node, in seconds: can this run, and what will it cost? Nothing is written but a log.


rule check:
    log:
        f"{R}/logs/check.log",
    conda:
        ENVIRONMENT
    shell:
        '"$DPC_PYTHON" -m dpc.pipeline.check 2>&1 | tee {log:q}'


rule estimate:
    log:
        f"{R}/logs/estimate.log",
    conda:
        ENVIRONMENT
    shell:
        '"$DPC_PYTHON" -m dpc.pipeline.estimate | tee {log:q}'


# After a run, or between two: what its jobs took.


rule took:
    log:
        f"{R}/logs/took.log",
    conda:
        ENVIRONMENT
    shell:
        '"$DPC_PYTHON" -m dpc.pipeline.took | tee {log:q}'


# What a study found, in a folder that can be kept and committed.


rule findings:
    input:
        rules.tables.input,
        rules.figures.input,
    output:
        directory(f"docs/findings/{STUDY.name.replace(' ', '_')}"),
    log:
        f"{R}/logs/findings.log",
    conda:
        ENVIRONMENT
    shell:
        '"$DPC_PYTHON" -m dpc.pipeline.publish {output:q} 2>&1 | tee {log:q}'
