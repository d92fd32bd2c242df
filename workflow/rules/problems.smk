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
        settings=lambda w: settings("problems", dataset=w.dataset)(w),
        version=VERSIONS["problems"],
    shell:
        '"$DPC_PYTHON" -m dpc problems --settings {params.settings:q} --train {input.train:q} --test {input.test:q} '
        "--questions {output.questions:q} --gold {output.gold:q} --log {log:q}"
