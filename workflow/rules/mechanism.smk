# After corruption: saliency again where a plan fired, beside what it was before.


rule extract_corrupted:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        plans=f"{CELL}/plans/test.parquet",
        regenerations=shards_of("regenerations", "test"),
    output:
        f"{CELL}/mechanism/saliency.parquet",
    log:
        f"{R}/logs/extract_corrupted/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/extract_corrupted/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("extract_corrupted"),
    params:
        settings=settings("extract_corrupted"),
        version=VERSIONS["extract_corrupted"],
        model=model_folder,
        store=store(CELL, "corrupted"),
    shell:
        '"$DPC_PYTHON" -m dpc extract_corrupted --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} --plans {input.plans:q} "
        "--regenerations {input.regenerations:q} --store {params.store:q} --out {output:q} --log {log:q}"


rule compare_flows:
    input:
        base=f"{CELL}/flow.parquet",
        corrupted=f"{CELL}/mechanism/saliency.parquet",
        plans=f"{CELL}/plans/test.parquet",
        outcomes=f"{CELL}/evaluation/outcomes.parquet",
    output:
        f"{CELL}/mechanism/mechanism.parquet",
    log:
        f"{R}/logs/compare_flows/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/compare_flows/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("compare_flows"),
    params:
        settings=settings("compare_flows"),
        version=VERSIONS["compare_flows"],
    shell:
        '"$DPC_PYTHON" -m dpc compare_flows --settings {params.settings:q} --base {input.base:q} '
        "--corrupted {input.corrupted:q} --plans {input.plans:q} --outcomes {input.outcomes:q} --out {output:q} "
        "--log {log:q}"


rule draw_mechanism:
    input:
        own_cells("mechanism/mechanism.parquet"),
    output:
        report(
            f"{FIGURE_FOLDER}/mechanism.svg",
            caption="../report/mechanism.rst",
            category="5 Interventions",
            labels={"figure": "mechanism", "model": "{model}", "dataset": "{dataset}", "recipe": "{recipe}"},
        ),
        report(
            f"{FIGURE_FOLDER}/mechanism.html",
            caption="../report/mechanism.rst",
            category="5 Interventions",
            labels={"figure": "table: mechanism", "model": "{model}", "dataset": "{dataset}", "recipe": "{recipe}"},
        ),
        multiext(f"{FIGURE_FOLDER}/mechanism", ".pdf", ".txt", ".tex", ".csv", ".md"),
    log:
        f"{R}/logs/draw_mechanism/{{model}}.{{dataset}}.{{recipe}}.log",
    benchmark:
        f"{R}/benchmarks/draw_mechanism/{{model}}.{{dataset}}.{{recipe}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("draw_mechanism"),
    params:
        settings=lambda w: settings(
            "draw_mechanism", models=[w.model], datasets=[w.dataset], recipes=[w.recipe], study=STUDY.name
        )(w),
        version=VERSIONS["draw_mechanism"],
        folder=lambda w: FIGURE_FOLDER.format(**w),
    shell:
        '"$DPC_PYTHON" -m dpc draw_mechanism --settings {params.settings:q} --mechanisms {input:q} '
        "--folder {params.folder:q} --log {log:q}"
