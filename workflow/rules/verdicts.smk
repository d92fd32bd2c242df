# Answers beside gold, once for each part and split. Gold of a split goes to its own verdicts, and to nothing else here.


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
