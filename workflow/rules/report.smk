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
