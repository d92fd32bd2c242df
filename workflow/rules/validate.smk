# Planted harm, apart from the study: `snakemake validate` tunes the prompts for choosing and writes one table.


VALIDATION = CONFIG.validation
VALIDATED = [name for name in (VALIDATION.recipe, VALIDATION.harmful_recipe) if name]
VALIDATION_SEEDS = [*VALIDATION.choosing_seeds, *VALIDATION.held_out_seeds]


rule plant_harm:
    input:
        model=model_ready,
        questions=questions_of,
        prompt=f"{CELL}/prompt/adapter_model.safetensors",
        tuning=f"{R}/problems/{{dataset}}/gold/tuning.parquet",
        gold=lambda w: expand(f"{R}/problems/{w.dataset}/gold/{{split}}.parquet", split=validated_splits(w)),
    output:
        planted=f"{CELL}/planted.parquet",
        causal=f"{CELL}/planted_causal.parquet",
    log:
        f"{R}/logs/plant_harm/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plant_harm/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.threads
    resources:
        **torch_job("plant_harm"),
    params:
        settings=lambda w: settings(
            "plant_harm",
            splits=validated_splits(w),
            is_planted=w.recipe == VALIDATION.recipe,
        )(w),
        version=VERSIONS["plant_harm"],
        model=model_folder,
    shell:
        '"$DPC_PYTHON" -m dpc plant_harm --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--model {params.model:q} --prompt {input.prompt:q} --questions {input.questions:q} "
        "--tuning {input.tuning:q} --gold {input.gold:q} --out {output.planted:q} --causal {output.causal:q} "
        "--log {log:q}"


rule write_validation:
    input:
        planted=planted_cells("planted.parquet"),
        causal=planted_cells("planted_causal.parquet"),
    output:
        exhibits_in(f"{R}/tables", "validation", recipe="all", dataset="all", model="all"),
        table=f"{R}/tables/validation.parquet",
    log:
        f"{R}/logs/write_validation.log",
    benchmark:
        f"{R}/benchmarks/write_validation.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=settings("write_validation", study=STUDY.name),
        version=VERSIONS["write_validation"],
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        '"$DPC_PYTHON" -m dpc write_validation --settings {params.settings:q} --planted {input.planted:q} --causal {input.causal:q} --out {output.table:q} '
        "--folder {params.folder:q} --log {log:q}"
