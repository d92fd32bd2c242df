# Figures come from tables alone. In the report the first categories sort first.
FIGURES = {
    "cases": "2 Cases",
    "analysis": "3 Prompt tuning analysed",
    "confidence": "3 Prompt tuning analysed",
    "layers": "4 Information flow",
    "accumulation": "4 Information flow",
    "exemplars": "4 Information flow",
    "plans": "5 Interventions",
    "thresholds": "5 Interventions",
}
FIGURE_FOLDER = f"{R}/figures/{{model}}/{{dataset}}/{{recipe}}"


rule draw_figures:
    input:
        outcomes=own_cells("evaluation/outcomes.parquet"),
        evaluation=own_cells("evaluation/evaluation.parquet"),
        evidence=own_cells("study/evidence.parquet"),
        layers=own_cells("study/layers.parquet"),
        accumulation=own_cells("study/accumulation.parquet"),
        positions=own_cells("study/positions.parquet"),
        findings=own_cells("study/findings.parquet"),
        curves=own_cells("threshold_curve.parquet"),
        exemplars=own_cells("study/exemplars.parquet", first_seed=True),
    output:
        [
            report(
                f"{FIGURE_FOLDER}/{name}.svg",
                caption=f"../report/{name}.rst",
                category=category,
                labels={
                    "figure": name,
                    "model": "{model}",
                    "dataset": "{dataset}",
                    "recipe": "{recipe}",
                },
            )
            for name, category in FIGURES.items()
        ],
        expand(
            f"{FIGURE_FOLDER}/{{name}}.{{kind}}",
            name=FIGURES,
            kind=["pdf", "txt"],
            allow_missing=True,
        ),
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
        '"$DPC_PYTHON" -m dpc draw_figures --settings {params.settings:q} --outcomes {input.outcomes:q} '
        "--evaluation {input.evaluation:q} --evidence {input.evidence:q} --layers {input.layers:q} "
        "--accumulation {input.accumulation:q} --positions {input.positions:q} --findings {input.findings:q} "
        "--curves {input.curves:q} --exemplars {input.exemplars:q} --folder {params.folder:q} --log {log:q}"


rule draw_overview:
    input:
        evaluation=own_cells("evaluation/evaluation.parquet"),
        outcomes=own_cells("evaluation/outcomes.parquet"),
    output:
        report(
            f"{R}/figures/{{model}}/{{dataset}}/overview.svg",
            caption="../report/overview.rst",
            category="1 Main results",
            labels={"figure": "overview", "model": "{model}", "dataset": "{dataset}", "recipe": "all"},
        ),
        multiext(f"{R}/figures/{{model}}/{{dataset}}/overview", ".pdf", ".txt"),
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
        '"$DPC_PYTHON" -m dpc draw_overview --settings {params.settings:q} --evaluation {input.evaluation:q} '
        "--outcomes {input.outcomes:q} --folder {params.folder:q} --log {log:q}"
