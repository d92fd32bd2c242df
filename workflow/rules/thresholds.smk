rule fit_thresholds:
    input:
        flow=f"{CELL}/flow.parquet",
        base=f"{CELL}/verdicts/calibration/base.parquet",
        regenerated=f"{CELL}/verdicts/calibration/calibration.parquet",
        plans=f"{CELL}/plans/calibration.parquet",
    output:
        thresholds=f"{CELL}/thresholds.parquet",
        curve=f"{CELL}/threshold_curve.parquet",
    log:
        f"{R}/logs/fit_thresholds/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/fit_thresholds/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("fit_thresholds"),
    params:
        settings=settings("fit_thresholds"),
        version=VERSIONS["fit_thresholds"],
    shell:
        '"$DPC_PYTHON" -m dpc fit_thresholds --settings {params.settings:q} --flow {input.flow:q} '
        "--base {input.base:q} --regenerated {input.regenerated:q} --plans {input.plans:q} --out {output.thresholds:q} --curve {output.curve:q} --log {log:q}"
