# Saliency measured in other ways on some calibration questions: would DPC do the same? Gold is calibration's alone.


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
