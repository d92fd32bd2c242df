# For the login node, in seconds: can this run, and what will it cost? Nothing is written but a log.
localrules:
    check,
    estimate,


rule check:
    log:
        f"{R}/logs/check.log",
    conda:
        ENVIRONMENT
    shell:
        '"$DPC_PYTHON" -m dpc.pipeline.check 2>&1 | tee {log:q}'


rule estimate:
    log:
        f"{R}/logs/estimate.log",
    conda:
        ENVIRONMENT
    shell:
        '"$DPC_PYTHON" -m dpc.pipeline.estimate | tee {log:q}'
