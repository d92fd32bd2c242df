EVALUATED = [part for part in PARTS if part not in ("calibration", "sweep")]


rule evaluate:
    input:
        plans=expand(f"{CELL}/plans/{{part}}.parquet", part=EVALUATED, allow_missing=True),
        unprompted=shards_of("unprompted"),
        generations=shards_of("generations"),
        act=shards_of("act_generations") if ACT else [],
        regenerations=shards_of("regenerations", *EVALUATED),
        questions=f"{R}/problems/{{dataset}}/questions.parquet",
        flow=f"{CELL}/flow.parquet",
        verdicts=[
            f"{R}/{{model}}/{{dataset}}/verdicts/test.parquet",
            *verdicts("test", "base", *(["act"] if ACT else []), *EVALUATED),
        ],
    output:
        outcomes=f"{CELL}/evaluation/outcomes.parquet",
        summary=f"{CELL}/evaluation/evaluation.parquet",
    log:
        f"{R}/logs/evaluate/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/evaluate/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("evaluate"),
    params:
        settings=settings("evaluate"),
        version=VERSIONS["evaluate"],
    shell:
        '"$DPC_PYTHON" -m dpc evaluate --settings {params.settings:q} --plans {input.plans:q} '
        "--unprompted {input.unprompted:q} --generations {input.generations:q} --act {input.act:q} "
        "--regenerations {input.regenerations:q} --verdicts {input.verdicts:q} "
        "--questions {input.questions:q} --flow {input.flow:q} --outcomes {output.outcomes:q} --out {output.summary:q} --log {log:q}"
