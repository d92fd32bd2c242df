# Figures and tables come from tables alone; what there is, and of which tables, is declared in dpc/report.


FIGURE_FOLDER = f"{R}/figures/{{model}}/{{dataset}}/{{recipe}}"


rule draw_figures:
    input:
        tables=tables_for("cell"),
    output:
        exhibits_in(FIGURE_FOLDER, "cell", recipe="{recipe}", dataset="{dataset}", model="{model}"),
    log:
        f"{R}/logs/draw_figures/{{model}}.{{dataset}}.{{recipe}}.log",
    benchmark:
        f"{R}/benchmarks/draw_figures/{{model}}.{{dataset}}.{{recipe}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("draw_figures"),
    params:
        settings=lambda w: settings(
            "draw_figures", models=[w.model], datasets=[w.dataset], recipes=[w.recipe], study=STUDY.name
        )(w),
        version=VERSIONS["draw_figures"],
        folder=lambda w: FIGURE_FOLDER.format(**w),
    shell:
        '"$DPC_PYTHON" -m dpc draw_figures --settings {params.settings:q} --tables {input.tables:q} '
        "--folder {params.folder:q} --log {log:q}"


rule draw_overview:
    input:
        tables=tables_for("recipes"),
    output:
        exhibits_in(f"{R}/figures/{{model}}/{{dataset}}", "recipes", recipe="all", dataset="{dataset}", model="{model}"),
    log:
        f"{R}/logs/draw_overview/{{model}}.{{dataset}}.log",
    benchmark:
        f"{R}/benchmarks/draw_overview/{{model}}.{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("draw_overview"),
    params:
        settings=lambda w: settings("draw_overview", models=[w.model], datasets=[w.dataset], study=STUDY.name)(w),
        version=VERSIONS["draw_overview"],
        folder=lambda w: f"{R}/figures/{w.model}/{w.dataset}",
    shell:
        '"$DPC_PYTHON" -m dpc draw_overview --settings {params.settings:q} --tables {input.tables:q} '
        "--folder {params.folder:q} --log {log:q}"


rule write_explorer:
    input:
        model=model_ready,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        saliency=shards_of("saliency"),
        flow=f"{CELL}/flow.parquet",
        evidence=f"{CELL}/study/evidence.parquet",
        thresholds=f"{CELL}/thresholds.parquet",
        outcomes=f"{CELL}/evaluation/outcomes.parquet",
        causal=f"{CELL}/causal.parquet",
        plans=expand(f"{CELL}/plans/{{part}}.parquet", part=EVALUATED, allow_missing=True),
        unprompted=shards_of("unprompted"),
        generations=shards_of("generations"),
        act=shards_of("act_generations") if ACT else [],
        options=f"{CELL}/options/answers.parquet" if OPTIONS else [],
        regenerations=shards_of("regenerations", *EVALUATED),
    output:
        f"{CELL}/explorer.html",
    log:
        f"{R}/logs/write_explorer/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/write_explorer/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("write_explorer"),
    params:
        settings=lambda w: settings(
            "write_explorer", study=STUDY.name, model=w.model, dataset=w.dataset, recipe=w.recipe
        )(w),
        version=VERSIONS["write_explorer"],
        model=model_folder,
    shell:
        '"$DPC_PYTHON" -m dpc write_explorer --settings {params.settings:q} --model {params.model:q} '
        "--prompt {input.prompt:q} --saliency {input.saliency:q} --flow {input.flow:q} --evidence {input.evidence:q} "
        "--thresholds {input.thresholds:q} --outcomes {input.outcomes:q} --causal {input.causal:q} "
        "--plans {input.plans:q} "
        "--unprompted {input.unprompted:q} --generations {input.generations:q} --act {input.act:q} "
        "--options {input.options:q} --regenerations {input.regenerations:q} --out {output:q} --log {log:q}"


rule write_explorer_index:
    input:
        evaluations=cell_files("evaluation/evaluation.parquet"),
    output:
        report(
            f"{R}/explorer.html",
            caption="../report/explorer.rst",
            category="2 Cases",
            labels={"figure": "explorer: every case", "recipe": "all", "dataset": "all", "model": "all"},
        ),
    log:
        f"{R}/logs/write_explorer_index.log",
    benchmark:
        f"{R}/benchmarks/write_explorer_index.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("write_explorer_index"),
    params:
        settings=settings("write_explorer_index", study=STUDY.name),
        version=VERSIONS["write_explorer_index"],
    shell:
        '"$DPC_PYTHON" -m dpc write_explorer_index --settings {params.settings:q} '
        "--evaluations {input.evaluations:q} --out {output:q} --log {log:q}"


rule write_tables:
    input:
        tables=tables_for("study"),
    output:
        tables=exhibits_in(f"{R}/tables", "study", recipe="all", dataset="all", model="all"),
        summary=report(
            f"{R}/summary.txt",
            caption="../report/summary.rst",
            category="1 Claims",
            labels={"figure": "summary", "model": "all", "dataset": "all", "recipe": "all"},
        ),
    log:
        f"{R}/logs/write_tables.log",
    benchmark:
        f"{R}/benchmarks/write_tables.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("write_tables"),
    params:
        settings=settings("write_tables", study=STUDY.name),
        version=VERSIONS["write_tables"],
        folder=lambda w, output: Path(output.tables[0]).parent,
    shell:
        '"$DPC_PYTHON" -m dpc write_tables --settings {params.settings:q} --tables {input.tables:q} '
        "--folder {params.folder:q} --summary {output.summary:q} --log {log:q}"
