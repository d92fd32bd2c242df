# Models and questions: fetched, made, read, rendered. Fetching alone uses the network, where Snakemake runs.


localrules:
    fetch_model,
    fetch_dataset,


rule fetch_model:
    output:
        "resources/models/{name}/config.json",
    log:
        "resources/logs/fetch_model/{name}.log",
    conda:
        ENVIRONMENT
    params:
        hub=lambda w: CONFIG.models[w.name].hub,
        revision=lambda w: CONFIG.models[w.name].revision,
        folder=lambda w: f"resources/models/{w.name}",
    shell:
        '"$DPC_PYTHON" -m dpc.storage.hub model --hub {params.hub:q} --revision {params.revision:q} '
        "--folder {params.folder:q} > {log:q} 2>&1"


rule fetch_dataset:
    output:
        "resources/datasets/{name}/{file}",
    log:
        "resources/logs/fetch_dataset/{name}/{file}.log",
    wildcard_constraints:
        name="[^/]+",
    conda:
        ENVIRONMENT
    params:
        hub=lambda w: CONFIG.datasets[w.name].hub.id,
        revision=lambda w: CONFIG.datasets[w.name].hub.revision,
        folder=lambda w: f"resources/datasets/{w.name}",
    shell:
        '"$DPC_PYTHON" -m dpc.storage.hub dataset --hub {params.hub:q} --file {wildcards.file:q} '
        "--revision {params.revision:q} --folder {params.folder:q} > {log:q} 2>&1"


rule train_builtin_model:
    output:
        f"{R}/models/{{model}}/config.json",
        f"{R}/models/{{model}}/model.safetensors",
    log:
        f"{R}/logs/train_builtin_model/{{model}}.log",
    benchmark:
        f"{R}/benchmarks/train_builtin_model/{{model}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.execution.builtin_threads
    params:
        settings=settings("train_builtin_model"),
        version=VERSIONS["train_builtin_model"],
        folder=lambda w: f"{R}/models/{w.model}",
    shell:
        '"$DPC_PYTHON" -m dpc train_builtin_model --settings {params.settings:q} --execution "$DPC_EXECUTION" '
        "--folder {params.folder:q} --log {log:q}"


rule load_problems:
    input:
        train=lambda w: dataset_files(w, "train"),
        test=lambda w: dataset_files(w, "test"),
    output:
        questions=f"{R}/problems/{{dataset}}/questions.parquet",
        gold=expand(f"{R}/problems/{{{{dataset}}}}/gold/{{split}}.parquet", split=SPLITS),
    log:
        f"{R}/logs/load_problems/{{dataset}}.log",
    benchmark:
        f"{R}/benchmarks/load_problems/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=lambda w: settings("load_problems", dataset=w.dataset)(w),
        version=VERSIONS["load_problems"],
    shell:
        '"$DPC_PYTHON" -m dpc load_problems --settings {params.settings:q} --train {input.train:q} --test {input.test:q} '
        "--questions {output.questions:q} --gold {output.gold:q} --log {log:q}"


rule render_questions:
    input:
        model=lambda w: model_ready(w) if CONFIG.format_of(w.model, w.dataset).chat else [],
        problems=f"{R}/problems/{{dataset}}/questions.parquet",
        tuning=f"{R}/problems/{{dataset}}/gold/tuning.parquet",
    output:
        f"{R}/{{model}}/{{dataset}}/questions.parquet",
    log:
        f"{R}/logs/render_questions/{{model}}.{{dataset}}.log",
    benchmark:
        f"{R}/benchmarks/render_questions/{{model}}.{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    params:
        settings=lambda w: settings("render_questions", format=CONFIG.format_of(w.model, w.dataset))(w),
        version=VERSIONS["render_questions"],
        model=model_folder,
    shell:
        '"$DPC_PYTHON" -m dpc render_questions --settings {params.settings:q} --model {params.model:q} '
        "--problems {input.problems:q} --tuning {input.tuning:q} --questions {output:q} --log {log:q}"
