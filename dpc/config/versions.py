"""The integer version of every stage's result: part of its rule's `params`, so that raising it reruns the stage.

`fingerprints.json` records a fingerprint of each stage's code, comments aside. When a stage's code changes, the
test fails until its version is raised here, or, where results are the same, `make fingerprints` records the new code.
"""

VERSIONS: dict[str, int] = {
    "load_problems": 4,
    "render_questions": 2,
    "train_builtin_model": 1,
    "tune_prompt": 3,
    "read_flow": 1,
    "grade_answers": 1,
    "gather_evidence": 3,
    "plan_sweep": 2,
    "sweep_choices": 3,
    "extract_variants": 5,
    "compare_variants": 2,
    "generate_base": 3,
    "select_act_heads": 2,
    "generate_act": 3,
    "extract_saliency": 6,
    "choose_exemplars": 2,
    "extract_exemplars": 5,
    "run_study": 4,
    "plan": 4,
    "regenerate": 3,
    "fit_thresholds": 3,
    "evaluate": 5,
    "extract_corrupted": 5,
    "compare_flows": 2,
    "plant_harm": 6,
    "write_validation": 5,
    "draw_figures": 8,
    "draw_overview": 6,
    "write_tables": 8,
}
