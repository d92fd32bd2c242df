# One prompt for each model, dataset, recipe and seed, and what it says.


rule tune_prompt:
    input:
        model=model_ready,
        questions=questions_of,
        tuning=f"{R}/problems/{{dataset}}/gold/tuning.parquet",
        validation=f"{R}/problems/{{dataset}}/gold/validation.parquet",
        given=adapter_files,
    output:
        weights=f"{CELL}/prompt/adapter_model.safetensors",
        adapter=f"{CELL}/prompt/adapter_config.json",
        history=f"{CELL}/training.parquet",
    log:
        f"{R}/logs/tune_prompt/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/tune_prompt/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("tune_prompt"),
    params:
        settings=settings("tune_prompt"),
        version=VERSIONS["tune_prompt"],
        model=model_folder,
        checkpoint=store(CELL, "prompt.safetensors"),
        given=lambda w: [f"--given={folder}" for folder in adapter_folders(w)],
    shell:
        '"$DPC_PYTHON" -m dpc tune_prompt --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --questions {input.questions:q} --tuning {input.tuning:q} "
        "--validation {input.validation:q} --checkpoint {params.checkpoint:q} --weights {output.weights:q} "
        "--adapter {output.adapter:q} --history {output.history:q} {params.given:q} --log {log:q}"


rule describe_prompt:
    input:
        weights=f"{CELL}/prompt/adapter_model.safetensors",
        adapter=f"{CELL}/prompt/adapter_config.json",
        history=f"{CELL}/training.parquet",
    output:
        prompts=f"{CELL}/prompts.parquet",
        search=f"{CELL}/search.parquet",
    log:
        f"{R}/logs/describe_prompt/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/describe_prompt/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("describe_prompt"),
    params:
        settings=settings("describe_prompt"),
        version=VERSIONS["describe_prompt"],
    shell:
        '"$DPC_PYTHON" -m dpc describe_prompt --settings {params.settings:q} --weights {input.weights:q} '
        "--adapter {input.adapter:q} --history {input.history:q} --prompts {output.prompts:q} "
        "--search {output.search:q} --log {log:q}"
