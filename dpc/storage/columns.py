"""The columns of every Parquet table.

A row is a question unless the schema says otherwise; `problem_id` crosses every stage unchanged. Lists over several
axes are stored flat in C order, their axes named in the comment: L layer, T rationale token, N prompt vector.
"""

from __future__ import annotations

import pyarrow as pa

_S, _B, _I, _F = pa.string(), pa.bool_(), pa.int32(), pa.float64()
_INTS, _FLOATS, _NUMBERS = pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.float64())

_EDIT = {
    "edit_id": _S,  # hash of the columns below; `base` is the unedited prompt, `unprompted` no prompt at all
    "masked": _INTS,  # vectors that are masked
    "mask": _S,  # scale | vocabulary_mean | attention
    "mask_value": _F,  # factor of `scale`
    "gamma": _F,  # percent of entries reduced
    "gamma_scale": _F,  # what they are multiplied by
    "gamma_scope": _S,  # others | all | located | per_vector
    "gamma_seed": _I,  # -1: the smallest entries; else the seed that draws them at random
}

_GENERATION = {
    "problem_id": _S,
    "split": _S,  # calibration | test
    "edit_id": _S,
    "token_ids": _INTS,  # generated tokens, the end mark included
    "text": _S,
    "stop_reason": _S,  # end | stop_text | length
    "extracted": _S,  # answer behind the answer mark, null if there is none
    "extracted_lenient": _S,  # that, or else the last thing that could be an answer
    "seconds": _F,  # wall-clock seconds of its batch divided by the batch's rows
    "batch": _I,  # rows with the same number were generated together
}

_COST = {
    "seconds_generation": _F,  # of the first answer, or of the only one
    "seconds_trigger": _F,  # of saliency, as far as a trigger reads it: of every question, fired or not
    "seconds_location": _F,  # of saliency, as far as locating a vector reads it, where the plan fires
    "seconds_regeneration": _F,  # of the answer under the edit, where the plan fires
    "tokens_regeneration": _F,  # of `tokens`, those of that answer
}

SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "questions": {
        "problem_id": _S,
        "split": _S,  # tuning | validation | calibration | test
        "question": _S,
        "prompt_text": _S,  # the rendered template, what the model reads
        "source": _S,  # file and line, or generator
    },
    "gold": {
        "problem_id": _S,
        "answer": _S,
        "rationale": _S,  # rationale and answer as tuned on
        "steps": _I,  # reasoning steps of the gold rationale
    },
    # one row per look at the tuning loss
    "training": {"step": _I, "loss": _F, "validation_loss": _F, "learning_rate": _F, "kept": _B},
    "generations": _GENERATION,
    # regenerations have the same columns; one row per question and edit
    "saliency": {
        "problem_id": _S,
        "split": _S,
        "layers": _I,  # L
        "vectors": _I,  # N
        "prompt_start": _I,  # position of the prompt's first vector
        "question_tokens": _I,  # Q; rows are all but the last, which predicts the first rationale token
        "rationale_tokens": _I,  # T; row t is the row that predicts token t
        "former_tokens": _I,  # floor(T/2)
        "former_steps": _I,  # tokens in the first half of the steps
        "step_of_token": _INTS,  # [T]
        "nll": _FLOATS,  # [T] negative log-likelihood of each own token, nats
        "entropy": _FLOATS,  # [T] of the distribution each token was chosen from, nats
        "row_prompt": _FLOATS,  # [L, T] saliency of row t summed over the prompt's columns
        "row_question": _FLOATS,  # [L, T] over the question's columns
        "row_rationale": _FLOATS,  # [L, T] over earlier rationale columns
        "row_former_tokens": _FLOATS,  # [L, T] over rationale columns before `former_tokens`
        "row_former_steps": _FLOATS,  # [L, T] over rationale columns before `former_steps`
        "column_question": _FLOATS,  # [L, N] saliency of column j summed over question rows
        "column_rationale": _FLOATS,  # [L, N] over rationale rows
        "band": _FLOATS,  # [T, N] rationale rows x prompt columns, summed over the layers of `saliency.band`
        "row_attention": _FLOATS,  # [L, T] plain attention of row t to the prompt, mean over heads
        "attention_question": _FLOATS,  # [L, N] plain attention to column j summed over question rows
        "attention_rationale": _FLOATS,  # [L, N] over rationale rows
        "seconds": _FLOATS,  # [L] until the layer was read, the last one first; of its batch, divided by its rows
    },
    # what everything later reads off saliency, from `flow` and `locate` alone: kappa, baseline, R and the number of
    # masked vectors are arithmetic over it
    "flow": {
        "problem_id": _S,
        "split": _S,
        "answered": _B,  # the strict reading found an answer
        "layers": _I,  # L
        "vectors": _I,  # N
        "prompt_start": _I,
        "rationale_tokens": _I,  # T
        "former": _I,  # tokens of the former half, as `flow.halves` cuts
        "step_of_token": _INTS,  # [T]
        "token_flow": _NUMBERS,  # [T] mean saliency from the prompt's columns, deep layers
        "column_saliency": _NUMBERS,  # [N] c_j; null where the affected tokens are the receivers
        "band": _FLOATS,  # [T, N] there, as in `saliency`; else null
        "nll": _F,  # mean, nats per token
        "entropy": _F,  # mean, nats per token
        "attention": _F,  # plain, to the prompt, mean over the deep layers and the rationale's rows
        "s_ifp": _F,
        "flow_latter": _F,  # raw S[p -> r_latter], deep layers
        "band_log_ratio": _F,  # log of the prompt's influence in layers 2-10 of 32 to that in the others
        "seconds_trigger": _F,  # of saliency, until all deep layers were read
        "seconds_location": _F,  # from then on, until all shallow layers were
    },
    # one row per question and edit of one split: the one place that compares answers with gold
    "verdicts": {
        "problem_id": _S,
        "split": _S,
        "edit_id": _S,
        "answer": _S,  # gold
        "steps": _I,  # of the gold rationale
        "correct": _B,  # the strict reading
        "correct_lenient": _B,
        "grader": _S,
    },
    # the instances whose full maps are kept
    "chosen": {"problem_id": _S, "role": _S},
    # full maps of single instances: one row per instance and layer
    "exemplars": {
        "problem_id": _S,
        "role": _S,  # right | wrong
        "layer": _I,
        "size": _I,  # S
        "vectors": _I,
        "question_tokens": _I,  # columns of the question
        "prompt_start": _I,  # first prompt column
        "tokens": pa.list_(_S),  # [S]
        "saliency": _FLOATS,  # [S, S] query rows x key columns
    },
    "plans": {
        "problem_id": _S,
        "plan": _S,
        "candidate": _I,  # -1, or the vector tried by plans that try several
        "fired": _B,  # false: the base generation stands
        **_EDIT,
    },
    # one row per question of the split that selects heads
    "act_scores": {
        "problem_id": _S,
        "base": _F,  # mean NLL of the gold rationale, nats per token
        "calibrated": pa.list_(_F),  # [layers x heads] the same with that head alone calibrated
    },
    # one row per head tried; layer and head -1: the union of those kept, on the split that confirms
    "act_heads": {
        "layer": _I,
        "head": _I,
        "gain": _F,  # mean over questions of how much the NLL falls, nats per token
        "se": _F,  # standard error of that mean
        "questions": _I,
        "kept": _B,
        "confirmed": _B,  # kept, and the union is confirmed: switched on
    },
    # one row per cell
    "thresholds": {
        "share": _F,  # R, null: never fire
        "net": _I,  # fixed - broken on calibration at that R
        "accumulation_z_limit": _F,  # D18, null: not estimable
        "s_ifp_limit": _F,  # D19, null: not estimable
        "static_vector": _I,  # -1: none helped on calibration
        "flow_constant": _F,  # D9, null: the instance's own former half
        "flow_profile": _NUMBERS,  # [parts] D9, null likewise
        "entropy_limit": _F,  # mean entropy above which `entropy_trigger` fires, null: never
        "nll_limit": _F,  # the same of mean NLL
        "attention_limit": _F,  # of mean plain attention to the prompt
        "right_cases": _I,
        "calibration_questions": _I,
        "note": _S,
    },
    # one row per value of R
    "threshold_curve": {
        "share": _F,  # R
        "fired": _I,
        "fixed": _I,
        "broken": _I,
        "net": _I,
        "accuracy": _F,
        "youden": _F,
        "chosen": _B,
    },
    # one row per calibration and test question: readings beside what came of it, for the report alone
    "evidence": {
        "problem_id": _S,
        "split": _S,
        "correct": _B,  # under prompt tuning
        "correct_unprompted": _B,  # read leniently
        "eligible": _B,  # D27
        "in_correlation": _B,  # of the test questions sampled for the accumulation study
        "in_separation": _B,  # of those sampled for the S_IFP study
        "affected_share": _F,  # of the latter half's tokens, what R is compared with
        "fired": _B,  # at the seed's R
        "nll": _F,  # mean, nats per token
        "rationale_tokens": _I,
        "steps": _I,  # of the gold rationale
        "accumulation": _F,  # share of the located vector in c_j
        "accumulation_z": _F,
        "accumulated": _B,  # null: not estimable
        "accumulation_beyond_zero": _F,  # the same share among vectors that do not stand at position 0
        "concentration": _F,  # accumulation / largest share of a whole broken at random into as many parts
        "located": _I,  # j*
        "located_at_zero": _B,  # it stands at position 0
        "band_log_ratio": _F,  # log of the prompt's influence in layers 2-10 of 32 to that in the others
        "s_ifp": _F,
        "flow_latter": _F,  # raw S[p -> r_latter], deep layers
        "flow_changed": _B,  # null: not estimable
    },
    # one row per point of a sweep and split; shares of 0 to 1
    "sensitivity": {
        "sweep": _S,  # threshold | deep | shallow | edit
        "row": _S,  # value of the first choice
        "column": _S,  # value of the second
        "split": _S,  # calibration | test
        "configured": _B,  # as the configuration says
        "best": _B,  # largest gain of its sweep on calibration
        "share": _F,  # R; null: never fires
        "fire_rate": _F,
        "gain": _F,  # fire rate x mean change over fired questions whose answer is known; null where none is
        "accuracy": _F,  # of prompt tuning + gain
        "known": _F,  # share of all questions whose answer is known; where nothing fires it is
        "same_vector": _F,  # share of questions that locate what the configuration locates
        "questions": _I,
    },
    # one row per way to measure saliency and sampled calibration question, see `saliency_variants.py`
    "variants": {
        **dict.fromkeys(("variant", "problem_id"), _S),
        **dict.fromkeys(("correct", "fired", "correct_after", "same_decision", "same_vector", "known"), _B),
        **dict.fromkeys(("affected_share", "configured_affected_share", "s_ifp"), _F),
        **dict.fromkeys(("share", "share_anew"), _F),  # R; null: never fires
        "fired_anew": _B,  # at `share_anew`, null: not chosen; `correct_after` is null where nobody knows
    },
    # mean saliency per pair of tokens, by block and layer, over the correlation instances
    "layers": {"block": _S, "layer": _I, "mean": _F, "low": _F, "high": _F, "instances": _I},
    # mean share of each vector in c_j, by layer
    "accumulation": {"layer": _I, "vector": _I, "mean": _F, "instances": _I},
    # flow from the prompt by relative position in the rationale, deep layers
    "positions": {"group": _S, "bin": _I, "mean": _F, "low": _F, "high": _F, "instances": _I},
    # every number of the two analyses
    "findings": {
        "name": _S,
        "value": _F,
        "low": _F,
        "high": _F,
        "p": _F,
        "n": _I,
        "note": _S,
    },
    # one row per test question and measured plan; readings after corruption are null where it did not fire
    "mechanism": {
        "plan": _S,
        "problem_id": _S,
        "edit_id": _S,
        "fired": _B,
        "correct_before": _B,
        "correct_after": _B,
        **{f"{name}_{when}": _F for when in ("before", "after") for name in ("flow_latter", "s_ifp", "nll")},
    },
    # one row per question, position that harm was planted at (-1: none) and rule of locating
    "planted": {
        "problem_id": _S,
        "split": _S,
        "vectors": _I,
        "position": _I,
        "rule": _S,
        "located": _I,
        "affected_share": _F,
        "eligible": _B,
        "clean_correct": _B,  # under the prompt as tuned
        "planted_correct": _B,
        "true_correct": pa.bool_(),  # with the planted vector masked; null where none is
        "located_correct": _B,  # with the located vector masked
    },
    # one row per cell, part (choosing, held_out), kind of harm (planted, natural) and rule of locating
    "validation": {
        **dict.fromkeys(("model", "dataset", "recipe", "part", "kind", "rule"), _S),
        "is_default": _B,
        **dict.fromkeys(("prompts", "cells", "questions"), _I),  # a cell is a prompt with harm at one position
        "chance": _F,  # 1 / vectors
        **{
            f"{name}{bound}": _F
            for name in (
                "clean",  # accuracy as tuned
                "planted",  # with the harm
                "masked",  # with the located vector masked
                "restored_true",  # with the true vector masked, as a share of `clean`
                "hit",  # located first, of all answers
                "hit_harmed",  # of those that the harm turned wrong
                "restored_located",  # `masked` as a share of `clean`
                "fire_rate",
                "fire_harmed",  # of wrong answers
                "clean_hit",  # the same position located without harm
                "random_hit",  # a position drawn at random for each question located without harm
            )
            for bound in ("", "_low", "_high")
        },
    },
    # one row per question and plan (and candidate)
    "outcomes": {
        "problem_id": _S,
        "plan": _S,
        "candidate": _I,
        "fired": _B,
        "correct": _B,
        "correct_lenient": _B,
        "answer": _S,  # gold
        "extracted": _S,
        "text": _S,
        "question": _S,
        "stop_reason": _S,
        "tokens": _I,  # generated for this plan, prompt tuning's own generation included
        "seconds": _F,  # the sum of the next four
        **_COST,
        "grader": _S,
    },
    # one row per plan
    "evaluation": {
        "plan": _S,
        "questions": _I,
        "ineligible": _I,  # of them, on which DPC's trigger never fires (D27); the same in every row
        "wrong": _I,  # of them, under prompt tuning; the same in every row
        "prompt_broke": _I,  # of the wrong, right without the prompt; null without plan `no_prompt`
        "accuracy": _F,
        "low": _F,
        "high": _F,
        "accuracy_lenient": _F,
        "fixed": _I,
        "broken": _I,
        "mcnemar_p": _F,
        "fire_rate": _F,
        "precision_wrong": _F,  # of fired, prompt tuning was wrong
        "recall_wrong": _F,  # of the wrong, fired
        "precision_broken": _F,  # of fired, the prompt broke it: right without (read leniently), wrong with
        "recall_broken": _F,
        "truncated": _I,
        "tokens": _F,  # per question
        "seconds": _F,  # per question, the sum of the next four
        **_COST,  # per question
        "memory_gb": _F,  # the largest peak of the jobs that did it
        "note": _S,
    },
}
SCHEMAS["regenerations"] = _GENERATION
SCHEMAS["variant_saliency"] = {"variant": _S, **SCHEMAS["saliency"]}
SCHEMAS["corrupted"] = {"edit_id": _S, **SCHEMAS["saliency"]}  # of new rationales, under the corrupted prompts
