# Two rules and one measurement: reduced for every question, full maps of every layer for two instances per figure.


rule extract_saliency:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        generations=shards_of("generations"),
    output:
        f"{CELL}/saliency/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{R}/logs/extract_saliency/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{R}/benchmarks/extract_saliency/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("extract_saliency"),
    params:
        settings=settings("extract_saliency"),
        version=VERSIONS["extract_saliency"],
        model=model_folder,
        store=store(CELL, "saliency-{shard}-of-{shards}"),
    shell:
        '"$DPC_PYTHON" -m dpc extract_saliency --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--generations {input.generations:q} --store {params.store:q} --shard {wildcards.shard} "
        "--shards {wildcards.shards} --out {output:q} --log {log:q}"


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


rule choose_exemplars:
    input:
        generations=shards_of("generations"),
        verdicts=f"{CELL}/verdicts/test/base.parquet",
    output:
        f"{CELL}/study/chosen.parquet",
    log:
        f"{R}/logs/choose_exemplars/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/choose_exemplars/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("choose_exemplars"),
    params:
        settings=settings("choose_exemplars"),
        version=VERSIONS["choose_exemplars"],
    shell:
        '"$DPC_PYTHON" -m dpc choose_exemplars --settings {params.settings:q} --generations {input.generations:q} '
        "--verdicts {input.verdicts:q} --out {output:q} --log {log:q}"


rule extract_exemplars:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        generations=shards_of("generations"),
        chosen=f"{CELL}/study/chosen.parquet",
    output:
        f"{CELL}/study/exemplars.parquet",
    log:
        f"{R}/logs/extract_exemplars/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/extract_exemplars/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("extract_exemplars"),
    params:
        settings=settings("extract_exemplars"),
        version=VERSIONS["extract_exemplars"],
        model=model_folder,
    shell:
        '"$DPC_PYTHON" -m dpc extract_exemplars --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--generations {input.generations:q} --chosen {input.chosen:q} --out {output:q} --log {log:q}"
