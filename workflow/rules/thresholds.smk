rule fit_thresholds:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
        regenerations=shards_of("regenerations", "calibration"),
        plans=f"{CELL}/plans/calibration.parquet",
        gold=f"{R}/problems/{{dataset}}/gold/calibration.parquet",
    output:
        thresholds=f"{CELL}/thresholds.parquet",
        curve=f"{CELL}/threshold_curve.parquet",
    log:
        f"{R}/logs/fit_thresholds/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/fit_thresholds/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("fit_thresholds"),
        version=VERSIONS["fit_thresholds"],
    shell:
        '"$DPC_PYTHON" -m dpc fit_thresholds --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --regenerations {input.regenerations:q} --plans {input.plans:q} "
        "--gold {input.gold:q} --out {output.thresholds:q} --curve {output.curve:q} --log {log:q}"
