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
