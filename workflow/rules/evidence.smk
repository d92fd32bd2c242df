# What trigger quality, confounds, sensitivity and claims are read from. Made from stored tables, on the CPU.
SWEPT = [part for part in PARTS if part != "oracles"]


rule gather_evidence:
    input:
        flow=f"{CELL}/flow.parquet",
        base=BASE_VERDICTS,
        unprompted=[f"{R}/{{model}}/{{dataset}}/verdicts/{split}.parquet" for split in ("calibration", "test")],
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/study/evidence.parquet",
    log:
        f"{R}/logs/gather_evidence/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/gather_evidence/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("gather_evidence"),
    params:
        settings=settings("gather_evidence"),
        version=VERSIONS["gather_evidence"],
    shell:
        '"$DPC_PYTHON" -m dpc gather_evidence --settings {params.settings:q} --flow {input.flow:q} '
        "--base {input.base:q} --unprompted {input.unprompted:q} --thresholds {input.thresholds:q} "
        "--out {output:q} --log {log:q}"


rule plan_sweep:
    input:
        f"{CELL}/flow.parquet",
    output:
        f"{CELL}/plans/sweep.parquet",
    log:
        f"{R}/logs/plan_sweep/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_sweep/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("plan_sweep"),
    params:
        settings=settings("plan_sweep"),
        version=VERSIONS["plan_sweep"],
    shell:
        '"$DPC_PYTHON" -m dpc plan_sweep --settings {params.settings:q} --flow {input:q} '
        "--out {output:q} --log {log:q}"


rule sweep_choices:
    input:
        saliency=shards_of("saliency"),
        flow=f"{CELL}/flow.parquet",
        base=BASE_VERDICTS,
        plans=expand(f"{CELL}/plans/{{part}}.parquet", part=SWEPT, allow_missing=True),
        regenerated=[path for part in SWEPT for path in verdicts("test" if part == "test" else "calibration", part)],
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/study/sensitivity.parquet",
    log:
        f"{R}/logs/sweep_choices/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/sweep_choices/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("sweep_choices"),
    params:
        settings=settings("sweep_choices"),
        version=VERSIONS["sweep_choices"],
    shell:
        '"$DPC_PYTHON" -m dpc sweep_choices --settings {params.settings:q} --saliency {input.saliency:q} '
        "--flow {input.flow:q} --base {input.base:q} --plans {input.plans:q} --regenerated {input.regenerated:q} "
        "--thresholds {input.thresholds:q} --out {output:q} --log {log:q}"
