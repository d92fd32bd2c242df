TABLES = {
    "main": "1 Main results",
    "ablation": "5 Interventions",
    "cost": "5 Interventions",
    "findings": "3 Prompt tuning analysed",
}


rule write_tables:
    input:
        outcomes=cell_files("evaluation/outcomes.parquet"),
        evaluation=cell_files("evaluation/evaluation.parquet"),
        findings=cell_files("study/findings.parquet"),
    output:
        [
            report(
                f"{R}/tables/{name}.html",
                caption=f"../report/{name}.rst",
                category=category,
                labels={"figure": f"table: {name}", "model": "all", "dataset": "all", "recipe": "all"},
            )
            for name, category in TABLES.items()
        ],
        expand(f"{R}/tables/{{name}}.{{kind}}", name=TABLES, kind=["csv", "md", "tex"]),
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
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        '"$DPC_PYTHON" -m dpc write_tables --settings {params.settings:q} --outcomes {input.outcomes:q} '
        "--evaluation {input.evaluation:q} --findings {input.findings:q} --folder {params.folder:q} --log {log:q}"
