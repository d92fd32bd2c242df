# What trigger quality, confounds, sensitivity and claims are read from. Made from stored tables, on the CPU.
SWEPT = [part for part in PARTS if part != "oracles"]


rule gather_evidence:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
        unprompted=shards_of("unprompted"),
        thresholds=f"{CELL}/thresholds.parquet",
        gold=expand(f"{R}/problems/{{{{dataset}}}}/gold/{{split}}.parquet", split=["calibration", "test"]),
    output:
        f"{CELL}/study/evidence.parquet",
    log:
        f"{R}/logs/gather_evidence/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/gather_evidence/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("gather_evidence"),
        version=VERSIONS["gather_evidence"],
    shell:
        '"$DPC_PYTHON" -m dpc gather_evidence --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --unprompted {input.unprompted:q} --thresholds {input.thresholds:q} "
        "--gold {input.gold:q} --out {output:q} --log {log:q}"


rule plan_sweep:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
    output:
        f"{CELL}/plans/sweep.parquet",
    log:
        f"{R}/logs/plan_sweep/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_sweep/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("plan_sweep"),
        version=VERSIONS["plan_sweep"],
    shell:
        '"$DPC_PYTHON" -m dpc plan_sweep --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --out {output:q} --log {log:q}"


rule sweep_choices:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
        plans=expand(f"{CELL}/plans/{{part}}.parquet", part=SWEPT, allow_missing=True),
        regenerations=shards_of("regenerations", *SWEPT),
        thresholds=f"{CELL}/thresholds.parquet",
        gold=expand(f"{R}/problems/{{{{dataset}}}}/gold/{{split}}.parquet", split=["calibration", "test"]),
    output:
        f"{CELL}/study/sensitivity.parquet",
    log:
        f"{R}/logs/sweep_choices/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/sweep_choices/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("sweep_choices"),
        version=VERSIONS["sweep_choices"],
    shell:
        '"$DPC_PYTHON" -m dpc sweep_choices --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --plans {input.plans:q} --regenerations {input.regenerations:q} "
        "--thresholds {input.thresholds:q} --gold {input.gold:q} --out {output:q} --log {log:q}"
