"""The integer version of every stage's result: part of its rule's `params`, so that raising it reruns the stage.

`tests/fingerprints.json` records a fingerprint of each stage's code, comments aside. When a stage's code changes, the
test fails until its version is raised here, or, where results are the same, `make fingerprints` records the new code.
"""

VERSIONS: dict[str, int] = {
    "problems": 2,
    "render": 1,
    "builtin_model": 1,
    "tune_prompt": 1,
    "evidence": 1,
    "evidence_figures": 3,
    "evidence_tables": 4,
    "plan_sweep": 1,
    "sensitivity": 1,
    "extract_variants": 1,
    "variants": 1,
    "generate_base": 1,
    "select_act_heads": 1,
    "generate_act": 1,
    "extract_saliency": 2,
    "choose_exemplars": 1,
    "exemplars": 1,
    "study": 2,
    "plan": 2,
    "regenerate": 1,
    "thresholds": 2,
    "evaluate": 2,
    "extract_corrupted": 1,
    "mechanism": 1,
    "mechanism_figure": 3,
    "validate": 1,
    "validation": 3,
    "figures": 4,
    "overview": 4,
    "tables": 4,
}
