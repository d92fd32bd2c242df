rule run_study:
    input:
        saliency=shards_of("saliency"),
        flow=f"{CELL}/flow.parquet",
        base=BASE_VERDICTS,
    output:
        layers=f"{CELL}/study/layers.parquet",
        accumulation=f"{CELL}/study/accumulation.parquet",
        positions=f"{CELL}/study/positions.parquet",
        findings=f"{CELL}/study/findings.parquet",
    log:
        f"{R}/logs/run_study/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/run_study/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("run_study"),
    params:
        settings=settings("run_study"),
        version=VERSIONS["run_study"],
    shell:
        '"$DPC_PYTHON" -m dpc run_study --settings {params.settings:q} --saliency {input.saliency:q} '
        "--flow {input.flow:q} --base {input.base:q} --layers {output.layers:q} "
        "--accumulation {output.accumulation:q} --positions {output.positions:q} --findings {output.findings:q} --log {log:q}"
