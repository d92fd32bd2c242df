# Calibration plans, to fit thresholds; test plans, without gold; oracles, with verdicts, and labelled.


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
        settings=settings("plan_calibration", plans=list(plans_of("calibration"))),
        version=VERSIONS["plan_calibration"],
    shell:
        '"$DPC_PYTHON" -m dpc plan_calibration --settings {params.settings:q} --flow {input.flow:q} '
        "--out {output:q} --log {log:q}"


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
