# The only rules that use the network; they run where Snakemake runs.


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
