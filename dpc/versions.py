"""The integer version of every stage's result: part of its rule's `params`, so that raising it reruns the stage.

`tests/fingerprints.json` records a fingerprint of each stage's code, comments aside. When a stage's code changes, the
test fails until its version is raised here, or, where results are the same, `make fingerprints` records the new code.
"""

VERSIONS: dict[str, int] = {
    "problems": 1,
    "builtin_model": 1,
    "tune_prompt": 1,
    "evidence": 1,
    "evidence_figures": 1,
    "evidence_tables": 1,
    "plan_sweep": 1,
    "sensitivity": 1,
    "generate_base": 1,
    "extract_saliency": 1,
    "choose_exemplars": 1,
    "exemplars": 1,
    "study": 1,
    "plan": 1,
    "regenerate": 1,
    "thresholds": 1,
    "evaluate": 1,
    "figures": 1,
    "overview": 1,
    "tables": 1,
}
