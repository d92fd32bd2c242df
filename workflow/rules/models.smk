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
