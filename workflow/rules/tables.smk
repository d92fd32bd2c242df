rule write_tables:
    input:
        tables=tables_for("study"),
    output:
        exhibits_in(f"{R}/tables", "study", recipe="all", dataset="all", model="all"),
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
        '"$DPC_PYTHON" -m dpc write_tables --settings {params.settings:q} --tables {input.tables:q} '
        "--folder {params.folder:q} --log {log:q}"
