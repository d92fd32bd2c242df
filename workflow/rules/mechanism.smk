# After corruption: saliency again where a plan fired, beside what it was before.


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
