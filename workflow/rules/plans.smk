# One stage, three rules: calibration plans (to fit thresholds), test plans (no gold), oracles (gold, labelled).


rule plan_calibration:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
    output:
        f"{CELL}/plans/calibration.parquet",
    log:
        f"{R}/logs/plan_calibration/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_calibration/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("plan", plans=list(plans_of("calibration"))),
        version=VERSIONS["plan"],
    shell:
        '"$DPC_PYTHON" -m dpc plan --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --split calibration --out {output:q} --log {log:q}"


rule plan:
    input:
        **({"act": f"{CELL}/act/heads.parquet"} if ACT else {}),
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/plans/test.parquet",
    log:
        f"{R}/logs/plan/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("plan"),
        version=VERSIONS["plan"],
    shell:
        '"$DPC_PYTHON" -m dpc plan --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --thresholds {input.thresholds:q} --split test --out {output:q} "
        "--log {log:q}" + (" --act-heads {input.act:q}" if ACT else "")


rule plan_oracles:
    input:
        saliency=shards_of("saliency"),
        generations=shards_of("generations"),
        gold=f"{R}/problems/{{dataset}}/gold/test.parquet",
    output:
        f"{CELL}/plans/oracles.parquet",
    log:
        f"{R}/logs/plan_oracles/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_oracles/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("plan", plans=STUDY.oracles),
        version=VERSIONS["plan"],
    shell:
        '"$DPC_PYTHON" -m dpc plan --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --gold {input.gold:q} --split test --out {output:q} --log {log:q}"
