"""The integer version of every stage's result: part of its rule's `params`, so that raising it reruns the stage.

`tests/fingerprints.json` records a fingerprint of each stage's code, comments aside. When a stage's code changes, the
test fails until its version is raised here, or, where results are the same, `make fingerprints` records the new code.
"""

VERSIONS: dict[str, int] = {
    "problems": 2,
    "render": 1,
    "builtin_model": 1,
    "tune_prompt": 2,
    "evidence": 2,
    "evidence_figures": 3,
    "evidence_tables": 5,
    "plan_sweep": 1,
    "sensitivity": 2,
    "extract_variants": 3,
    "variants": 1,
    "generate_base": 1,
    "select_act_heads": 1,
    "generate_act": 1,
    "extract_saliency": 4,
    "choose_exemplars": 1,
    "exemplars": 3,
    "study": 3,
    "plan": 3,
    "regenerate": 1,
    "thresholds": 2,
    "evaluate": 3,
    "extract_corrupted": 3,
    "mechanism": 1,
    "mechanism_figure": 4,
    "validate": 2,
    "validation": 4,
    "figures": 5,
    "overview": 5,
    "tables": 5,
}
