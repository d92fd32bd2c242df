# Calibration plans, to fit thresholds; test plans, without gold; oracles, with verdicts, and labelled; the sweep's edits.


rule read_flow:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
    output:
        f"{CELL}/flow.parquet",
    log:
        f"{R}/logs/read_flow/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/read_flow/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("read_flow"),
    params:
        settings=settings("read_flow"),
        version=VERSIONS["read_flow"],
    shell:
        '"$DPC_PYTHON" -m dpc read_flow --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --out {output:q} --log {log:q}"


rule plan_calibration:
    input:
        flow=f"{CELL}/flow.parquet",
    output:
        f"{CELL}/plans/calibration.parquet",
    log:
        f"{R}/logs/plan_calibration/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_calibration/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("plan_calibration"),
    params:
        settings=settings("plan_calibration", plans=on_calibration(STUDY.plans)),
        version=VERSIONS["plan_calibration"],
    shell:
        '"$DPC_PYTHON" -m dpc plan_calibration --settings {params.settings:q} --flow {input.flow:q} '
        "--out {output:q} --log {log:q}"


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


rule plan:
    input:
        **({"act": f"{CELL}/act/heads.parquet"} if ACT else {}),
        flow=f"{CELL}/flow.parquet",
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/plans/test.parquet",
    log:
        f"{R}/logs/plan/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("plan"),
    params:
        settings=settings("plan"),
        version=VERSIONS["plan"],
    shell:
        '"$DPC_PYTHON" -m dpc plan --settings {params.settings:q} --flow {input.flow:q} '
        "--thresholds {input.thresholds:q} --out {output:q} "
        "--log {log:q}" + (" --act-heads {input.act:q}" if ACT else "")


rule plan_oracles:
    input:
        flow=f"{CELL}/flow.parquet",
        verdicts=f"{CELL}/verdicts/test/base.parquet",
    output:
        f"{CELL}/plans/oracles.parquet",
    log:
        f"{R}/logs/plan_oracles/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_oracles/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("plan_oracles"),
    params:
        settings=settings("plan_oracles"),
        version=VERSIONS["plan_oracles"],
    shell:
        '"$DPC_PYTHON" -m dpc plan_oracles --settings {params.settings:q} --flow {input.flow:q} '
        "--verdicts {input.verdicts:q} --out {output:q} --log {log:q}"


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
