"""The integer version of every stage's result: part of its rule's `params`, so that raising it reruns the stage.

`tests/support/fingerprints.json` records a fingerprint of each stage's code, comments aside. When a stage's code changes, the
test fails until its version is raised here, or, where results are the same, `make fingerprints` records the new code.
"""

VERSIONS: dict[str, int] = {
    "load_problems": 2,
    "render_questions": 1,
    "train_builtin_model": 1,
    "tune_prompt": 3,
    "gather_evidence": 2,
    "draw_evidence": 3,
    "write_evidence": 5,
    "plan_sweep": 1,
    "sweep_choices": 2,
    "extract_variants": 4,
    "compare_variants": 1,
    "generate_base": 1,
    "select_act_heads": 2,
    "generate_act": 1,
    "extract_saliency": 5,
    "choose_exemplars": 1,
    "extract_exemplars": 4,
    "run_study": 3,
    "plan": 3,
    "regenerate": 1,
    "fit_thresholds": 2,
    "evaluate": 3,
    "extract_corrupted": 4,
    "compare_flows": 1,
    "draw_mechanism": 4,
    "plant_harm": 3,
    "write_validation": 4,
    "draw_figures": 5,
    "draw_overview": 5,
    "write_tables": 5,
}
