"""The integer version of every stage's result: part of its rule's `params`, so that raising it reruns the stage.

`fingerprints.json` records a fingerprint of each stage's code, comments aside. When a stage's code changes, the
test fails until its version is raised here, or, where results are the same, `make fingerprints` records the new code.
"""

VERSIONS: dict[str, int] = {
    "load_problems": 3,
    "render_questions": 1,
    "train_builtin_model": 1,
    "tune_prompt": 3,
    "read_flow": 2,
    "grade_answers": 1,
    "gather_evidence": 3,
    "plan_sweep": 2,
    "sweep_choices": 3,
    "extract_variants": 5,
    "compare_variants": 2,
    "generate_base": 2,
    "select_act_heads": 2,
    "generate_act": 2,
    "extract_saliency": 6,
    "choose_exemplars": 2,
    "extract_exemplars": 4,
    "run_study": 4,
    "plan": 4,
    "regenerate": 2,
    "fit_thresholds": 3,
    "evaluate": 5,
    "extract_corrupted": 5,
    "compare_flows": 2,
    "plant_harm": 5,
    "write_validation": 5,
    "draw_figures": 7,
    "draw_overview": 6,
    "write_tables": 7,
}
