"""What every table and column of a results folder means: docs/results.md says it, and `make schema` writes that page.

A name means the same in all tables. Where a table means something of its own, its entry is `table.column`. Axes of
lists: L layer, T rationale token, N prompt vector, S position; stored flat in C order. A stage imports `columns.py`,
not this file, so that no edit of a sentence makes a stage's code another.
"""

from __future__ import annotations

from typing import NamedTuple

from dpc.storage.columns import SCHEMAS


class Meaning(NamedTuple):
    """What a column holds, and in which unit."""

    text: str
    unit: str = ""


class Rows(NamedTuple):
    """Where a table lies under `study.results`, what a row is, and what the table is for."""

    file: str
    row: str
    purpose: str = ""


SEED = "MODEL/DATASET/RECIPE/seedN"
TABLES = {
    "questions": Rows("problems/DATASET/questions.parquet", "question", "`MODEL/DATASET/questions.parquet` where a "
                      "model is asked in a format of its own."),
    "gold": Rows("problems/DATASET/gold/SPLIT.parquet", "question of the split", "The only tables with gold answers "
                 "and rationales."),
    "training": Rows(f"{SEED}/training.parquet", "look at the tuning loss"),
    "prompts": Rows(f"{SEED}/prompts.parquet", "prompt", "What a prompt is, says and has cost."),
    "search": Rows(f"{SEED}/search.parquet", "prompt that a tuner tried", "Without rows for tuners that look for no "
                   "tokens. RLPrompt's are its greedy prompts: those it samples are not kept."),
    "generations": Rows(f"{SEED}/generations/", "question", "Prompt tuning's answers. Answers without a prompt are "
                        "in `MODEL/DATASET/unprompted/`, ACT's in `act_generations/`, with the same columns."),
    "regenerations": Rows(f"{SEED}/regenerations/PART/", "question and edit", "Answers under edited prompts. "
                          "Parts: calibration, test, oracles, sweep."),
    "verdicts": Rows(f"{SEED}/verdicts/SPLIT/", "question and edit", "Answers compared with gold. Verdicts on "
                     "answers without a prompt are in `MODEL/DATASET/verdicts/`."),
    "saliency": Rows(f"{SEED}/saliency/", "question", "Sums of attention saliency. All readings come from them."),
    "flow": Rows(f"{SEED}/flow.parquet", "question", "What is read off saliency under the groups `flow` and "
                 "`locate`; trigger and locator are arithmetic over it."),
    "chosen": Rows(f"{SEED}/study/chosen.parquet", "exemplar", "The test questions whose full maps are kept. Of "
                   "the first seed."),
    "exemplars": Rows(f"{SEED}/study/exemplars.parquet", "exemplar and layer", "Full saliency maps."),
    "plans": Rows(f"{SEED}/plans/PART.parquet", "question and plan", "What each plan decides: fire or not, and "
                  "which edit of the prompt."),
    "act_scores": Rows(f"{SEED}/act/scores.parquet", "question of the split that selects heads"),
    "act_heads": Rows(f"{SEED}/act/heads.parquet", "attention head that is tried", "Layer −1, head −1: all "
                      "kept heads together, on the split that confirms."),
    "options": Rows(f"{SEED}/options/scores.parquet", "test question, with the prompt and without", "How likely "
                    "each label is; where `study.plans` has `likelihood`. The likeliest ones are in "
                    "`options/answers.parquet`, with the columns of `generations`."),
    "interpretability": Rows(f"{SEED}/interpretability.parquet", "prompt read as text", "The prompt's nearest tokens; "
                             "those under each edit of DPC's corruption on calibration; references."),
    "thresholds": Rows(f"{SEED}/thresholds.parquet", "cell", "All that is fitted on calibration questions."),
    "threshold_curve": Rows(f"{SEED}/threshold_curve.parquet", "value of R", "How R was chosen, on calibration."),
    "evidence": Rows(f"{SEED}/study/evidence.parquet", "calibration or test question", "Readings of prompt tuning's "
                     "answer, and whether it is right. For the report."),
    "sensitivity": Rows(f"{SEED}/study/sensitivity.parquet", "point of a sweep and split"),
    "variant_saliency": Rows(f"{SEED}/variants/saliency.parquet", "way to measure and question", "Saliency of some "
                             "calibration questions, measured in other ways."),
    "variants": Rows(f"{SEED}/variants/variants.parquet", "way to measure and question", "What DPC would do with "
                     "each way to measure. `correct` is about prompt tuning's answer."),
    "layers": Rows(f"{SEED}/study/layers.parquet", "block and layer", "Saliency per layer, over the instances of "
                   "the correlation study."),
    "accumulation": Rows(f"{SEED}/study/accumulation.parquet", "layer and vector", "The same instances."),
    "positions": Rows(f"{SEED}/study/positions.parquet", "group and bin", "Flow from the prompt along the "
                      "rationale, over the instances of the S_IFP study."),
    "findings": Rows(f"{SEED}/study/findings.parquet", "number of the two analyses"),
    "corrupted": Rows(f"{SEED}/mechanism/saliency.parquet", "question and edit", "Saliency of the new "
                      "rationale under the corrupted prompt."),
    "mechanism": Rows(f"{SEED}/mechanism/mechanism.parquet", "test question and measured plan", "Readings before "
                      "and after corruption; those after are null where the plan did not fire."),
    "causal": Rows(f"{SEED}/causal.parquet", "question, test and target", "What interventions on stored rationales "
                   "find (docs/methods.md). One test's targets of a question are its curve."),
    "interventions": Rows(f"{SEED}/store/causal/", "question", "Finished rows of table `causal`, until that is "
                          "written."),
    "outcomes": Rows(f"{SEED}/evaluation/outcomes.parquet", "test question and plan (and candidate)",
                     "What each plan answers."),
    "evaluation": Rows(f"{SEED}/evaluation/evaluation.parquet", "plan", "Fixed and broken questions are counted "
                       "against prompt tuning."),
    "planted": Rows(f"{SEED}/planted.parquet", "question, position and rule of locating", "Harm planted in one "
                    "vector (`snakemake validate`)."),
    "planted_causal": Rows(f"{SEED}/planted_causal.parquet", "question, position, test and target", "Interventions "
                           "under planted harm."),
    "validation": Rows("tables/validation.parquet", "cell, part, kind of harm and rule of locating", "Means over "
                       "prompts."),
}  # fmt: skip
SHARE, NATS, MEAN_NATS, ROW = "0 to 1", "nats", "nats per token", "[L, T]"
COLUMN, DEVIATIONS = "[L, N]", "standard deviations"
MEANINGS = {
    # what a row is about
    "problem_id": Meaning("hash of the normalised question; the same in all tables"),
    "split": Meaning("tuning, validation, calibration, act_select, act_confirm or test"),
    "edit_id": Meaning("hash of the edit of the prompt; `base`: none, `unprompted`: no prompt, `act`: ACT; "
                       "`likelihood`, `likelihood_unprompted`: the likeliest label"),
    "plan": Meaning("name of the plan"),
    "candidate": Meaning("the vector tried, by plans that try several; else −1"),
    "variant": Meaning("way to measure saliency"),
    "model": Meaning("name of the model"),
    "dataset": Meaning("name of the dataset"),
    "recipe": Meaning("name of the recipe"),
    # questions and gold
    "question": Meaning("the question"),
    "prompt_text": Meaning("what the model reads: the question in its template"),
    "source": Meaning("file and line, or the generator"),
    "answer": Meaning("gold answer"),
    "rationale": Meaning("gold rationale with its answer, as prompts are tuned on it"),
    "steps": Meaning("reasoning steps of the gold rationale", "steps"),
    # tuning
    "step": Meaning("steps of the optimiser done", "steps"),
    "loss": Meaning("mean loss on the tuning split since the last look", MEAN_NATS),
    "validation_loss": Meaning("loss on the validation split", MEAN_NATS),
    "learning_rate": Meaning("learning rate at that step"),
    "prompts.tuner": Meaning("how the prompt was made: a file of `dpc/prompts/tuners`"),
    "prompts.order": Meaning("where it stands: `bos_first` is [BOS, prompt, question], `prompt_first` [prompt, BOS, "
                             "question]"),
    "prompts.vectors": Meaning("vectors of the prompt"),
    "prompts.token_ids": Meaning("the tokens whose embeddings the vectors are; empty where they are none"),
    "prompts.text": Meaning("these tokens as text; null where there are none"),
    "prompts.tuned_steps": Meaning("steps done", "steps"),
    "prompts.kept_step": Meaning("step whose prompt is kept", "steps"),
    "prompts.start_loss": Meaning("validation loss of the prompt the search began with; null where none was "
                                  "looked at", MEAN_NATS),
    "prompts.validation_loss": Meaning("validation loss of the prompt that is kept", MEAN_NATS),
    "passes": Meaning("sequences that had gone through the model, read or generated, validation included; null for a "
                      "prompt that was made before they were counted"),
    "gradients": Meaning("of `passes`: with a backward pass behind"),
    "prompts.tokens": Meaning("positions of these sequences", "tokens"),
    "search.token_ids": Meaning("tokens of the prompt that was tried"),
    "search.text": Meaning("the same as text"),
    "search.score": Meaning("what the tuner chooses by at this point: the validation loss; of GReaTer's candidates its "
                            "own score. Lower is better"),
    "search.kept": Meaning("this is the prompt that the tuner ended with"),
    "search.seconds": Meaning("time that had gone by", "s"),
    # answers
    "token_ids": Meaning("generated tokens, with the end mark"),
    "text": Meaning("generated text"),
    "stop_reason": Meaning("why generation ended: end, stop_text or length; option: a label was scored"),
    "extracted": Meaning("answer behind the answer mark; null: there is none"),
    "extracted_lenient": Meaning("that answer, or else the last text that could be one"),
    "seconds": Meaning("wall-clock time of its batch, divided by the batch's rows", "s"),
    "batch": Meaning("rows with the same number were generated together"),
    "seconds_generation": Meaning("of `seconds`: the first answer, or the only one", "s"),
    "seconds_trigger": Meaning("of `seconds`: saliency until all deep layers are read, for every question of a plan "
                               "with a trigger, fired or not", "s"),
    "seconds_location": Meaning("of `seconds`: the rest of saliency, until all shallow layers are read, where the plan "
                                "fires", "s"),
    "seconds_regeneration": Meaning("of `seconds`: the answer under the edit, where the plan fires", "s"),
    "tokens_regeneration": Meaning("of `tokens`: those of the answer under the edit", "tokens"),
    "at_chance": Meaning("it is not interpretable, as accuracy is not above chance"),
    "unchanged": Meaning("of prompt tuning: every answer is, token for token, the one without a prompt"),
    "memory_gb": Meaning("largest peak of the jobs that made the plan's answers", "GB"),
    "tokens": Meaning("tokens generated for this plan, prompt tuning's own answer included", "tokens"),
    "correct": Meaning("the answer is right by the strict reading"),
    "correct_lenient": Meaning("it is right by the lenient reading"),
    "grader": Meaning("version of the task's grader"),
    "correct_unprompted": Meaning("the answer without a prompt is right by the lenient reading"),
    # sizes
    "layers": Meaning("layers of the model, L", "layers"),
    "layer": Meaning("layer, from 0"),
    "vectors": Meaning("vectors of the prompt, N", "vectors"),
    "vector": Meaning("prompt vector, from 0"),
    "head": Meaning("attention head, from 0"),
    "prompt_start": Meaning("position of the prompt's first vector, from 0"),
    "question_tokens": Meaning("tokens of the question", "tokens"),
    "rationale_tokens": Meaning("tokens of the rationale, T", "tokens"),
    "size": Meaning("positions of the sequence, S", "positions"),
    "former_tokens": Meaning("tokens of the former half, cut by tokens: ⌊T/2⌋", "tokens"),
    "former_steps": Meaning("tokens of the former half, cut by steps", "tokens"),
    "former": Meaning("tokens of the former half, as `flow.halves` cuts it", "tokens"),
    "step_of_token": Meaning("step of each rationale token, from 0", "[T]"),
    "questions": Meaning("questions that the row counts", "questions"),
    "instances": Meaning("questions that the mean is over", "questions"),
    # saliency
    "row_prompt": Meaning("saliency of the row that predicts token t, summed over the prompt's columns", ROW),
    "row_question": Meaning("the same over the question's columns", ROW),
    "row_rationale": Meaning("the same over the columns of earlier rationale tokens", ROW),
    "row_former_tokens": Meaning("the same over the first `former_tokens` columns of the rationale", ROW),
    "row_former_steps": Meaning("the same over the first `former_steps` columns of the rationale", ROW),
    "row_attention": Meaning("attention of the row to the prompt, mean over heads", f"{ROW}, {SHARE}"),
    "column_question": Meaning("saliency of the prompt's column, summed over question rows", COLUMN),
    "column_rationale": Meaning("the same summed over rationale rows", COLUMN),
    "attention_question": Meaning("attention to the prompt's column, summed over question rows", COLUMN),
    "attention_rationale": Meaning("that attention, summed over rationale rows", COLUMN),
    "band": Meaning("saliency of rationale rows and prompt columns, summed over layers `saliency.band`", "[T, N]"),
    "saliency": Meaning("saliency of query rows and key columns", "[S, S]"),
    # readings
    "answered": Meaning("the strict reading found an answer"),
    "token_flow": Meaning("mean saliency from the prompt into each token, deep layers", "[T]"),
    "column_saliency": Meaning("c_j; null where `locate.receivers` is `affected`", "[N]"),
    "nll": Meaning("mean negative log-likelihood of the answer's own tokens", MEAN_NATS),
    "entropy": Meaning("mean entropy of the distributions its tokens were chosen from", MEAN_NATS),
    "attention": Meaning("attention to the prompt, mean over the deep layers and the rationale's rows", SHARE),
    "s_ifp": Meaning("S_IFP: the prompt's share of the flow into the latter half (D20)", SHARE),
    "flow_latter": Meaning("flow from the prompt into the latter half, deep layers: S[p→latter]"),
    "band_log_ratio": Meaning("log of the prompt's influence in layers 2–10 of 32 to that in the other layers", NATS),
    "affected_share": Meaning("share of the latter half's tokens that are affected; DPC compares it with R", SHARE),
    "eligible": Meaning("DPC may fire: the answer is long enough, and there is one (D27)"),
    "located": Meaning("located vector j*, from 0"),
    "located_at_zero": Meaning("the located vector stands at position 0"),
    "accumulation": Meaning("share of the located vector in the sum of c_j", SHARE),
    "accumulation_z": Meaning("z of the located vector's c_j among the N vectors", DEVIATIONS),
    "accumulated": Meaning("accumulation is significant (D18); null: not estimable"),
    "accumulation_beyond_zero": Meaning("largest share among the vectors that do not stand at position 0", SHARE),
    "concentration": Meaning("accumulation, divided by what the largest part of a stick broken at random into N parts "
                             "is on average", "ratio"),
    "flow_changed": Meaning("flow change (D19); null: not estimable"),
    "in_correlation": Meaning("an instance of the correlation study"),
    "in_separation": Meaning("an instance of the S_IFP study"),
    # decisions
    "fired": Meaning("the plan fires; if not, prompt tuning's answer stands"),
    "masked": Meaning("vectors that are masked, from 0"),
    "mask": Meaning("scale, vocabulary_mean or attention (D16); nearest_token in plan `projected`"),
    "mask_value": Meaning("factor of the masked vectors under `scale`", "factor"),
    "gamma": Meaning("entries that are reduced (D17)", "%"),
    "gamma_scale": Meaning("factor of the reduced entries", "factor"),
    "gamma_scope": Meaning("others, all, located or per_vector (D17)"),
    "gamma_seed": Meaning("seed that draws the reduced entries; −1: the smallest ones"),
    # fitted on calibration
    "share": Meaning("R; null: never fires", SHARE),
    "net": Meaning("fixed minus broken", "questions"),
    "fixed": Meaning("questions wrong before and right after", "questions"),
    "broken": Meaning("questions right before and wrong after", "questions"),
    "youden": Meaning("Youden's index: fire rate of wrong answers minus that of right ones", "−1 to 1"),
    "chosen": Meaning("this R is chosen"),
    "accumulation_z_limit": Meaning("accumulation is significant above it (D18); null: not estimable", DEVIATIONS),
    "s_ifp_limit": Meaning("the flow changed above it (D19); null: not estimable", SHARE),
    "static_vector": Meaning("vector of plan `static_mask`, from 0; −1: none helped"),
    "flow_constant": Meaning("β / κ under `trigger.baseline: constant`; else null"),
    "flow_profile": Meaning("mean flow in 20 equal parts of the rationale under `detrend`; else null", "[20]"),
    "entropy_limit": Meaning("`entropy_trigger` fires above it; null: never", MEAN_NATS),
    "nll_limit": Meaning("`nll_trigger` fires above it; null: never", MEAN_NATS),
    "attention_limit": Meaning("`attention_trigger` fires above it; null: never", SHARE),
    "right_cases": Meaning("right calibration questions that the limits come from", "questions"),
    "calibration_questions": Meaning("calibration questions", "questions"),
    "note": Meaning("what a reader has to know about the row"),
    # ACT
    "base": Meaning("mean NLL of the gold rationale", MEAN_NATS),
    "calibrated": Meaning("the same with one head calibrated, for every head tried", f"[layers × heads], {MEAN_NATS}"),
    "gain": Meaning("change of accuracy: fire rate × mean change over the fired questions whose answer is known; null: "
                    "none is", "−1 to 1"),
    "se": Meaning("standard error of the gain", MEAN_NATS),
    "confirmed": Meaning("kept, and confirmed on the second split: the head is switched on"),
    # prompts as text
    "labels": Meaning("labels in the order of `options.labels`"),
    "label_tokens": Meaning("tokens of each label", "tokens"),
    "log_likelihood": Meaning("log p of each label behind the question, summed over its tokens", NATS),
    "likeliest": Meaning("label of the largest log-likelihood"),
    "prompt": Meaning("own: the cell's prompt; corrupted: under an edit of plan `always`; instruction: "
                      "`interpretability.instruction`; random: tokens drawn"),
    "changed": Meaning("vectors whose nearest token is another one under the edit; null without one", "vectors"),
    "words": Meaning("text of each token", "[N]"),
    "distance": Meaning("squared Euclidean distance of a vector to its nearest token, mean over vectors"),
    "distance_relative": Meaning("that, divided by the median squared distance of a token to the next token", "ratio"),
    "cosine_distance": Meaning("1 − the largest cosine of a vector with a token, mean over vectors", "0 to 2"),
    "reader_nll": Meaning("the same under `interpretability.reader`, on the text; null without one", MEAN_NATS),
    "asked": Meaning("test questions on which outputs are compared; null for all but the own prompt"),
    "output_raw": Meaning("mean squared change of the logits where vectors become their nearest tokens, for each of "
                          "these questions"),
    "output_centred": Meaning("the same once the logits of every position have mean 0"),
    "output_kl": Meaning("KL divergence of the next-token distributions, prompt to nearest tokens", MEAN_NATS),
    "output_agreement": Meaning("share of positions whose likeliest token stays", SHARE),
    # sweeps and variants
    "sweep": Meaning("threshold, deep, shallow or edit"),
    "row": Meaning("value of the sweep's first choice"),
    "column": Meaning("value of the sweep's second choice"),
    "configured": Meaning("the choice of the configuration"),
    "best": Meaning("largest gain of the sweep on calibration"),
    "known": Meaning("the answer under the located vector is known"),
    "same_vector": Meaning("locates the vector that the configuration locates"),
    "same_decision": Meaning("fires where the configuration fires"),
    "configured_affected_share": Meaning("`affected_share` as configured", SHARE),
    "share_anew": Meaning("R chosen anew on these questions; null: never fires", SHARE),
    "fired_anew": Meaning("fires at `share_anew`; null: no R was chosen anew"),
    "correct_before": Meaning("right under prompt tuning"),
    "correct_after": Meaning("right under the plan; null: not known"),
    # means and intervals
    "block": Meaning("from→into: p prompt, q question, r rationale"),
    "group": Meaning("right or wrong answers"),
    "bin": Meaning("part of the rationale, from 0"),
    "mean": Meaning("mean over the instances"),
    "low": Meaning("lower bound of the interval at `statistics.confidence`"),
    "high": Meaning("upper bound"),
    "name": Meaning("name of the number, see below"),
    "value": Meaning("the number"),
    "p": Meaning("p-value, two-sided; null: no test", SHARE),
    "n": Meaning("test instances behind the number", "questions"),
    "role": Meaning("right or wrong"),
    # evaluation
    "accuracy": Meaning("share of right answers", SHARE),
    "accuracy_lenient": Meaning("share of right answers by the lenient reading", SHARE),
    "fire_rate": Meaning("share of questions that the plan fires on", SHARE),
    "ineligible": Meaning("questions that DPC never fires on (D27)", "questions"),
    "wrong": Meaning("questions wrong under prompt tuning", "questions"),
    "prompt_broke": Meaning("of them, right without the prompt; null without plan `no_prompt`", "questions"),
    "mcnemar_p": Meaning("p-value of McNemar's test of fixed against broken", SHARE),
    "precision_wrong": Meaning("of the fired questions, the share that prompt tuning answers wrong", SHARE),
    "recall_wrong": Meaning("of the questions that prompt tuning answers wrong, the share that fired", SHARE),
    "precision_broken": Meaning("of the fired questions, the share that the prompt broke", SHARE),
    "recall_broken": Meaning("of the questions that the prompt broke, the share that fired", SHARE),
    "truncated": Meaning("answers cut at `max_new_tokens`", "questions"),
    # planted harm
    "position": Meaning("vector that harm is planted in, from 0; −1: none"),
    "rule": Meaning("rule of locating"),
    "clean_correct": Meaning("right under the prompt as tuned"),
    "planted_correct": Meaning("right with the harm"),
    "true_correct": Meaning("right with the planted vector masked; null: none is planted"),
    "located_correct": Meaning("right with the located vector masked"),
    "part": Meaning("choosing or held_out"),
    "kind": Meaning("planted, or natural: a recipe that does harm by itself"),
    "is_default": Meaning("the configured rule"),
    "prompts": Meaning("prompts that the means are over", "prompts"),
    "cells": Meaning("prompts with harm at one position", "cells"),
    "chance": Meaning("1 / vectors", SHARE),
    "clean": Meaning("accuracy of the prompt as tuned", SHARE),
    "planted": Meaning("accuracy with the harm", SHARE),
    "restored_true": Meaning("accuracy with the planted vector masked, divided by `clean`", "ratio"),
    "restored_located": Meaning("accuracy with the located vector masked, divided by `clean`", "ratio"),
    "hit": Meaning("share of answers that locate the planted vector", SHARE),
    "hit_harmed": Meaning("the same among answers that the harm turned wrong", SHARE),
    "fire_harmed": Meaning("share of wrong answers that the trigger fires on", SHARE),
    "clean_hit": Meaning("share of answers that locate the same vector without harm", SHARE),
    "random_hit": Meaning("share of answers for which a vector drawn at random is the one located without harm", SHARE),
    "mask_first": Meaning("share of prompts in which masking the planted vector adds more loss than masking any other",
                          SHARE),
    "dose_rank": Meaning("Spearman's correlation of the harm's dose with accuracy, mean over prompts",
                         "−1 to 1"),
    "harm_gone": Meaning("share of the lost accuracy that is back where no row sees the planted vector", "ratio"),
    "harm_gone_late": Meaning("the same where the rows of the latter half alone do not see it", "ratio"),
    # interventions
    "test": Meaning("what is done or measured; docs/methods.md lists the tests"),
    "target": Meaning("what it is done to: a vector, a dose (`located:0.5`), layers and columns (`deep:prompt`)"),
    # where a table means something of its own
    "causal.value": Meaning("what the test finds: a change of loss, log P, 1 for right and 0 for wrong"),
    "planted_causal.value": Meaning("what the test finds, as in table `causal`"),
    "interventions.test": Meaning("of each row of table `causal`: its test"),
    "interventions.target": Meaning("its target"),
    "interventions.value": Meaning("its value"),
    "training.kept": Meaning("the prompt of this step is the one that is kept"),
    "interpretability.token_ids": Meaning("a discrete prompt's own, else the nearest; the reference's own", "[N]"),
    "interpretability.text": Meaning("these tokens as the tokenizer writes them"),
    "interpretability.nll": Meaning("mean negative log-likelihood of these tokens under the task's model; its "
                                    "exponential is the perplexity", MEAN_NATS),
    "interpretability.questions": Meaning("calibration questions that the edit is planned for", "questions"),
    "act_heads.kept": Meaning("the gain exceeds `act.standard_errors` standard errors"),
    "act_heads.gain": Meaning("how much the NLL of the gold rationale falls, mean over questions", MEAN_NATS),
    "evidence.fired": Meaning("DPC fires at the cell's R"),
    "variants.fired": Meaning("DPC would fire at the cell's R"),
    "outcomes.seconds": Meaning("wall-clock time for this plan, prompt tuning's own answer included", "s"),
    "evaluation.tokens": Meaning("tokens generated, mean per question", "tokens"),
    "saliency.seconds": Meaning("time until the layer was read, the last layer first; of its batch, divided by the "
                                "batch's rows", "[L], s"),
    "flow.seconds_trigger": Meaning("time of saliency until all deep layers were read", "s"),
    "flow.seconds_location": Meaning("time of saliency from then on, until all shallow layers were read", "s"),
    "evaluation.seconds": Meaning("wall-clock time, mean per question", "s"),
    "exemplars.tokens": Meaning("text of each position", "[S]"),
    "saliency.nll": Meaning("negative log-likelihood of each of the answer's own tokens", f"[T], {NATS}"),
    "saliency.entropy": Meaning("entropy of the distribution that each token was chosen from", f"[T], {NATS}"),
    "threshold_curve.fired": Meaning("questions that DPC fires on", "questions"),
    "threshold_curve.accuracy": Meaning("accuracy of DPC at this R", SHARE),
    "sensitivity.accuracy": Meaning("accuracy of prompt tuning plus the gain", SHARE),
    "sensitivity.known": Meaning("share of questions whose answer is known; where nothing fires it always is", SHARE),
    "sensitivity.same_vector": Meaning("share of questions that locate the configured vector", SHARE),
    "accumulation.mean": Meaning("share of the vector in c_j, mean over the instances", SHARE),
    "validation.masked": Meaning("accuracy with the located vector masked", SHARE),
    "flow.band": Meaning("`band` of the saliency table where `locate.receivers` is `affected`; else null", "[T, N]"),
}  # fmt: skip
SAME = {"variant_saliency": "saliency", "corrupted": "saliency", "regenerations": "generations"}
"""Tables that have the columns of another, and a key more."""
SUFFIXES = {"_before": "before corruption", "_after": "after corruption", "_low": "lower bound", "_high": "upper bound"}


def meaning(table: str, column: str) -> Meaning:
    """Return what a column of a table means. Raises KeyError where nobody says."""
    key, suffix = _key(table, column)
    text, unit = MEANINGS[key]
    return Meaning(f"`{column.removesuffix(suffix)}`, {SUFFIXES[suffix]}", unit) if suffix else Meaning(text, unit)


def _key(table: str, column: str) -> tuple[str, str]:
    """Return the entry that a column takes its meaning from, and the suffix that says which bound or when."""
    for key in (f"{table}.{column}", f"{SAME.get(table, table)}.{column}", column):
        if key in MEANINGS:
            return key, ""
    suffix = next((end for end in SUFFIXES if column.endswith(end)), "")
    return (_key(table, column.removesuffix(suffix))[0], suffix) if suffix else (column, "")


def unused() -> list[str]:
    """Return the entries that no column of any table takes its meaning from."""
    taken = {_key(table, column)[0] for table, columns in SCHEMAS.items() for column in columns}
    return [key for key in MEANINGS if key not in taken]
