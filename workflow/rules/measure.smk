# Saliency: reduced for every question, in full for two; in other ways on some calibration questions, whose gold alone is
# read; under corrupted prompts where a plan fired. What the prompt says as text.


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


rule extract_variants:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        generations=shards_of("generations"),
        gold=f"{R}/problems/{{dataset}}/gold/calibration.parquet",
    output:
        f"{CELL}/variants/saliency.parquet",
    log:
        f"{R}/logs/extract_variants/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/extract_variants/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("extract_variants"),
    params:
        settings=settings("extract_variants"),
        version=VERSIONS["extract_variants"],
        model=model_folder,
        store=store(CELL, "variants"),
    shell:
        '"$DPC_PYTHON" -m dpc extract_variants --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--generations {input.generations:q} --gold {input.gold:q} --store {params.store:q} --out {output:q} "
        "--log {log:q}"


rule extract_corrupted:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        plans=f"{CELL}/plans/test.parquet",
        regenerations=shards_of("regenerations", "test"),
    output:
        f"{CELL}/mechanism/saliency.parquet",
    log:
        f"{R}/logs/extract_corrupted/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/extract_corrupted/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("extract_corrupted"),
    params:
        settings=settings("extract_corrupted"),
        version=VERSIONS["extract_corrupted"],
        model=model_folder,
        store=store(CELL, "corrupted"),
    shell:
        '"$DPC_PYTHON" -m dpc extract_corrupted --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} --plans {input.plans:q} "
        "--regenerations {input.regenerations:q} --store {params.store:q} --out {output:q} --log {log:q}"


rule measure_prompt:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        generations=shards_of("generations"),
        plans=f"{CELL}/plans/calibration.parquet",
        reader=reader_ready,
    output:
        f"{CELL}/interpretability.parquet",
    log:
        f"{R}/logs/measure_prompt/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/measure_prompt/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("measure_prompt"),
    params:
        settings=settings("measure_prompt"),
        version=VERSIONS["measure_prompt"],
        model=model_folder,
        reader=lambda w: [f"--reader={folder}" for folder in reader_folders()],
    shell:
        '"$DPC_PYTHON" -m dpc measure_prompt --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--generations {input.generations:q} --plans {input.plans:q} --out {output:q} {params.reader:q} --log {log:q}"


rule intervene:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        other=other_prompt,
        flow=f"{CELL}/flow.parquet",
        generations=shards_of("generations"),
        unprompted=shards_of("unprompted"),
        base=f"{CELL}/verdicts/test/base.parquet",
        alone=f"{R}/{{model}}/{{dataset}}/verdicts/test.parquet",
    output:
        f"{CELL}/causal.parquet",
    log:
        f"{R}/logs/intervene/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/intervene/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("intervene"),
    params:
        settings=settings("intervene"),
        version=VERSIONS["intervene"],
        model=model_folder,
        store=store(CELL, "causal"),
    shell:
        '"$DPC_PYTHON" -m dpc intervene --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --other {input.other:q} --questions {input.questions:q} "
        "--flow {input.flow:q} --generations {input.generations:q} --unprompted {input.unprompted:q} "
        "--base {input.base:q} --alone {input.alone:q} --store {params.store:q} --out {output:q} --log {log:q}"
