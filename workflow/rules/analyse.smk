# Answers beside gold, once for each part and split, and what is read off verdicts, flow and saliency. Gold of a split goes
# to its own verdicts, and to nothing else here.


EVALUATED = [part for part in PARTS if part not in ("calibration", "sweep")]
SWEPT = [part for part in PARTS if part != "oracles"]


rule grade_answers:
    input:
        answers=answers_of,
        gold=f"{R}/problems/{{dataset}}/gold/{{split}}.parquet",
    output:
        f"{CELL}/verdicts/{{split}}/{{answers}}.parquet",
    log:
        f"{R}/logs/grade_answers/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{split}}.{{answers}}.log",
    benchmark:
        f"{R}/benchmarks/grade_answers/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{split}}.{{answers}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("grade_answers"),
    params:
        settings=settings("grade_answers"),
        version=VERSIONS["grade_answers"],
    shell:
        '"$DPC_PYTHON" -m dpc grade_answers --settings {params.settings:q} --answers {input.answers:q} '
        "--gold {input.gold:q} --split {wildcards.split} --out {output:q} --log {log:q}"


rule grade_unprompted:
    input:
        answers=shards_of("unprompted"),
        gold=f"{R}/problems/{{dataset}}/gold/{{split}}.parquet",
    output:
        f"{R}/{{model}}/{{dataset}}/verdicts/{{split}}.parquet",
    log:
        f"{R}/logs/grade_unprompted/{{model}}.{{dataset}}.{{split}}.log",
    benchmark:
        f"{R}/benchmarks/grade_unprompted/{{model}}.{{dataset}}.{{split}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("grade_unprompted"),
    params:
        settings=settings("grade_answers"),
        version=VERSIONS["grade_answers"],
    shell:
        '"$DPC_PYTHON" -m dpc grade_answers --settings {params.settings:q} --answers {input.answers:q} '
        "--gold {input.gold:q} --split {wildcards.split} --out {output:q} --log {log:q}"


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


rule evaluate:
    input:
        plans=expand(f"{CELL}/plans/{{part}}.parquet", part=EVALUATED, allow_missing=True),
        unprompted=shards_of("unprompted"),
        generations=shards_of("generations"),
        act=shards_of("act_generations") if ACT else [],
        options=f"{CELL}/options/answers.parquet" if OPTIONS else [],
        regenerations=shards_of("regenerations", *EVALUATED),
        questions=f"{R}/problems/{{dataset}}/questions.parquet",
        flow=f"{CELL}/flow.parquet",
        verdicts=[
            f"{R}/{{model}}/{{dataset}}/verdicts/test.parquet",
            *verdicts("test", "base", *(["act"] if ACT else []), *(["options"] if OPTIONS else []), *EVALUATED),
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
        "--options {input.options:q} "
        "--regenerations {input.regenerations:q} --verdicts {input.verdicts:q} "
        "--questions {input.questions:q} --flow {input.flow:q} --outcomes {output.outcomes:q} --out {output.summary:q} "
        "--log {log:q}"


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


rule compare_variants:
    input:
        saliency=f"{CELL}/variants/saliency.parquet",
        generations=shards_of("generations"),
        plans=f"{CELL}/plans/calibration.parquet",
        base=f"{CELL}/verdicts/calibration/base.parquet",
        regenerated=f"{CELL}/verdicts/calibration/calibration.parquet",
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/variants/variants.parquet",
    log:
        f"{R}/logs/compare_variants/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/compare_variants/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("compare_variants"),
    params:
        settings=settings("compare_variants"),
        version=VERSIONS["compare_variants"],
    shell:
        '"$DPC_PYTHON" -m dpc compare_variants --settings {params.settings:q} --saliency {input.saliency:q} '
        "--generations {input.generations:q} --plans {input.plans:q} --base {input.base:q} "
        "--regenerated {input.regenerated:q} --thresholds {input.thresholds:q} --out {output:q} --log {log:q}"


rule compare_flows:
    input:
        base=f"{CELL}/flow.parquet",
        corrupted=f"{CELL}/mechanism/saliency.parquet",
        plans=f"{CELL}/plans/test.parquet",
        outcomes=f"{CELL}/evaluation/outcomes.parquet",
    output:
        f"{CELL}/mechanism/mechanism.parquet",
    log:
        f"{R}/logs/compare_flows/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/compare_flows/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("compare_flows"),
    params:
        settings=settings("compare_flows"),
        version=VERSIONS["compare_flows"],
    shell:
        '"$DPC_PYTHON" -m dpc compare_flows --settings {params.settings:q} --base {input.base:q} '
        "--corrupted {input.corrupted:q} --plans {input.plans:q} --outcomes {input.outcomes:q} --out {output:q} "
        "--log {log:q}"
