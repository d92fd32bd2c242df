# Attention calibration: which heads it is switched on in, and what the model says with it.


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
