# Answers: without a prompt (once per model and dataset), under each prompt, with attention calibration, under edits.


rule generate_unprompted:
    input:
        model=model_ready,
        questions=questions_of,
    output:
        f"{R}/{{model}}/{{dataset}}/unprompted/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{R}/logs/generate_unprompted/{{model}}.{{dataset}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{R}/benchmarks/generate_unprompted/{{model}}.{{dataset}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("generate_unprompted"),
    params:
        settings=settings("generate_base"),
        version=VERSIONS["generate_base"],
        model=model_folder,
        store=store(f"{R}/{{model}}/{{dataset}}/unprompted", "{shard}-of-{shards}"),
    shell:
        '"$DPC_PYTHON" -m dpc generate_base --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --questions {input.questions:q} --store {params.store:q} "
        "--shard {wildcards.shard} --shards {wildcards.shards} --out {output:q} --log {log:q}"


rule generate_base:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
    output:
        f"{CELL}/generations/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{R}/logs/generate_base/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{R}/benchmarks/generate_base/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("generate_base"),
    params:
        settings=settings("generate_base"),
        version=VERSIONS["generate_base"],
        model=model_folder,
        store=store(CELL, "generations-{shard}-of-{shards}"),
    shell:
        '"$DPC_PYTHON" -m dpc generate_base --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --questions {input.questions:q} --prompt {input.prompt:q} --store {params.store:q} "
        "--shard {wildcards.shard} --shards {wildcards.shards} --out {output:q} --log {log:q}"


rule select_act_heads:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        select=f"{R}/problems/{{dataset}}/gold/act_select.parquet",
        confirm=f"{R}/problems/{{dataset}}/gold/act_confirm.parquet",
    output:
        heads=f"{CELL}/act/heads.parquet",
        scores=f"{CELL}/act/scores.parquet",
    log:
        f"{R}/logs/select_act_heads/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/select_act_heads/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("select_act_heads"),
    params:
        settings=settings("select_act_heads"),
        version=VERSIONS["select_act_heads"],
        model=model_folder,
        store=store(CELL, "act-scores"),
    shell:
        '"$DPC_PYTHON" -m dpc select_act_heads --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--select {input.select:q} --confirm {input.confirm:q} --store {params.store:q} "
        "--heads {output.heads:q} --scores {output.scores:q} --log {log:q}"


rule generate_act:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        heads=f"{CELL}/act/heads.parquet",
        base=shards_of("generations"),
    output:
        f"{CELL}/act_generations/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{R}/logs/generate_act/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{R}/benchmarks/generate_act/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("generate_act"),
    params:
        settings=settings("generate_act"),
        version=VERSIONS["generate_act"],
        model=model_folder,
        store=store(CELL, "act-{shard}-of-{shards}"),
    shell:
        '"$DPC_PYTHON" -m dpc generate_act --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--heads {input.heads:q} --base {input.base:q} --store {params.store:q} --shard {wildcards.shard} "
        "--shards {wildcards.shards} --out {output:q} --log {log:q}"


rule score_options:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
    output:
        scores=f"{CELL}/options/scores.parquet",
        answers=f"{CELL}/options/answers.parquet",
    log:
        f"{R}/logs/score_options/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/score_options/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("score_options"),
    params:
        settings=settings("score_options"),
        version=VERSIONS["score_options"],
        model=model_folder,
    shell:
        '"$DPC_PYTHON" -m dpc score_options --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--scores {output.scores:q} --out {output.answers:q} --log {log:q}"


rule regenerate:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        base=shards_of("generations"),
        plans=f"{CELL}/plans/{{part}}.parquet",
        # what oracles ask for and the test plans have made is not made twice; the other way gold would flow
        made=lambda w: shards_of("regenerations", "test")(w) if w.part == "oracles" else [],
    output:
        f"{CELL}/regenerations/{{part}}/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{R}/logs/regenerate/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{part}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{R}/benchmarks/regenerate/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{part}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("regenerate"),
    params:
        settings=settings("regenerate"),
        version=VERSIONS["regenerate"],
        model=model_folder,
        store=store(CELL, "regenerations-{part}-{shard}-of-{shards}"),
    shell:
        '"$DPC_PYTHON" -m dpc regenerate --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--plans {input.plans:q} --base {input.base:q} --made {input.made:q} --store {params.store:q} --shard {wildcards.shard} "
        "--shards {wildcards.shards} --out {output:q} --log {log:q}"
