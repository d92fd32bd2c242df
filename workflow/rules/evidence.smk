# Is it true, and why: trigger quality, confounds, sensitivity, claims. Made from stored tables, on the CPU.
EVIDENCE_TABLES = {
    "claims": "1 Main results",
    "trigger": "6 Evidence",
    "confounds": "6 Evidence",
    "sensitivity": "6 Evidence",
    "variants": "6 Evidence",
}
SWEPT = [part for part in PARTS if part != "oracles"]
EVIDENCE_FIGURES = ["trigger", "confounds", "sensitivity"]


localrules:
    evidence,


rule evidence:
    input:
        expand(f"{R}/tables/{{name}}.html", name=EVIDENCE_TABLES),
        expand(
            f"{FIGURE_FOLDER}/{{name}}.svg",
            model=STUDY.models,
            dataset=STUDY.datasets,
            recipe=STUDY.recipes,
            name=EVIDENCE_FIGURES,
        ),


rule gather_evidence:
    input:
        flow=f"{CELL}/flow.parquet",
        base=BASE_VERDICTS,
        unprompted=[f"{R}/{{model}}/{{dataset}}/verdicts/{split}.parquet" for split in ("calibration", "test")],
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/study/evidence.parquet",
    log:
        f"{R}/logs/gather_evidence/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/gather_evidence/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("gather_evidence"),
    params:
        settings=settings("gather_evidence"),
        version=VERSIONS["gather_evidence"],
    shell:
        '"$DPC_PYTHON" -m dpc gather_evidence --settings {params.settings:q} --flow {input.flow:q} '
        "--base {input.base:q} --unprompted {input.unprompted:q} --thresholds {input.thresholds:q} "
        "--out {output:q} --log {log:q}"


rule plan_sweep:
    input:
        f"{CELL}/flow.parquet",
    output:
        f"{CELL}/plans/sweep.parquet",
    log:
        f"{R}/logs/plan_sweep/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/plan_sweep/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("plan_sweep"),
    params:
        settings=settings("plan_sweep"),
        version=VERSIONS["plan_sweep"],
    shell:
        '"$DPC_PYTHON" -m dpc plan_sweep --settings {params.settings:q} --flow {input:q} '
        "--out {output:q} --log {log:q}"


rule sweep_choices:
    input:
        saliency=shards_of("saliency"),
        flow=f"{CELL}/flow.parquet",
        base=BASE_VERDICTS,
        plans=expand(f"{CELL}/plans/{{part}}.parquet", part=SWEPT, allow_missing=True),
        regenerated=[path for part in SWEPT for path in verdicts("test" if part == "test" else "calibration", part)],
        thresholds=f"{CELL}/thresholds.parquet",
    output:
        f"{CELL}/study/sensitivity.parquet",
    log:
        f"{R}/logs/sweep_choices/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/sweep_choices/{{model}}.{{dataset}}.{{recipe}}.seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("sweep_choices"),
    params:
        settings=settings("sweep_choices"),
        version=VERSIONS["sweep_choices"],
    shell:
        '"$DPC_PYTHON" -m dpc sweep_choices --settings {params.settings:q} --saliency {input.saliency:q} '
        "--flow {input.flow:q} --base {input.base:q} --plans {input.plans:q} --regenerated {input.regenerated:q} "
        "--thresholds {input.thresholds:q} --out {output:q} --log {log:q}"


rule draw_evidence:
    input:
        evidence=own_cells("study/evidence.parquet"),
        sensitivity=own_cells("study/sensitivity.parquet"),
    output:
        [
            report(
                f"{FIGURE_FOLDER}/{name}.svg",
                caption=f"../report/{name}_figure.rst",
                category="6 Evidence",
                labels={"figure": name, "model": "{model}", "dataset": "{dataset}", "recipe": "{recipe}"},
            )
            for name in EVIDENCE_FIGURES
        ],
        expand(
            f"{FIGURE_FOLDER}/{{name}}.{{kind}}",
            name=EVIDENCE_FIGURES,
            kind=["pdf", "txt"],
            allow_missing=True,
        ),
    log:
        f"{R}/logs/draw_evidence/{{model}}.{{dataset}}.{{recipe}}.log",
    benchmark:
        f"{R}/benchmarks/draw_evidence/{{model}}.{{dataset}}.{{recipe}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("draw_evidence"),
    params:
        settings=lambda w: settings(
            "draw_evidence", models=[w.model], datasets=[w.dataset], recipes=[w.recipe], study=STUDY.name
        )(w),
        version=VERSIONS["draw_evidence"],
        folder=lambda w: FIGURE_FOLDER.format(**w),
    shell:
        '"$DPC_PYTHON" -m dpc draw_evidence --settings {params.settings:q} --evidence {input.evidence:q} '
        "--sensitivity {input.sensitivity:q} --folder {params.folder:q} --log {log:q}"


rule write_evidence:
    input:
        evidence=cell_files("study/evidence.parquet"),
        outcomes=cell_files("evaluation/outcomes.parquet"),
        sensitivity=cell_files("study/sensitivity.parquet"),
        variants=cell_files("variants/variants.parquet"),
        mechanism=cell_files("mechanism/mechanism.parquet"),
    output:
        [
            report(
                f"{R}/tables/{name}.html",
                caption=f"../report/{name}.rst",
                category=category,
                labels={"figure": f"table: {name}", "model": "all", "dataset": "all", "recipe": "all"},
            )
            for name, category in EVIDENCE_TABLES.items()
        ],
        expand(f"{R}/tables/{{name}}.{{kind}}", name=EVIDENCE_TABLES, kind=["csv", "md", "tex"]),
    log:
        f"{R}/logs/write_evidence.log",
    benchmark:
        f"{R}/benchmarks/write_evidence.tsv"
    conda:
        ENVIRONMENT
    resources:
        **cpu_job("write_evidence"),
    params:
        settings=settings("write_evidence", study=STUDY.name),
        version=VERSIONS["write_evidence"],
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        '"$DPC_PYTHON" -m dpc write_evidence --settings {params.settings:q} --evidence {input.evidence:q} '
        "--outcomes {input.outcomes:q} --sensitivity {input.sensitivity:q} "
        "--variants {input.variants:q} --mechanism {input.mechanism:q} --folder {params.folder:q} --log {log:q}"
