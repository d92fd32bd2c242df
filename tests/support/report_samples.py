"""Synthetic tables in the shape of a cell's, for the tests of figures and tables."""

import hashlib
import itertools
import math

import numpy as np
import pandas as pd

from dpc.analysis.studies.outcomes import COSTS
from dpc.config.methods import Act
from dpc.config.settings import Corrupt, Figures, Flow, Locate, Saliency, Significance, Statistics, Trigger
from dpc.config.slices import FiguresStage
from dpc.plans.declaration import of
from dpc.report import wording
from dpc.storage import tables

FIGURES = ["cases", "layers", "accumulation", "exemplars", "analysis", "confidence", "thresholds", "plans"]
PLANS = [name for name in of("test") if name != "act"]
"""Without ACT: a table has to show its published numbers beside a dash."""
TOY_QUESTION = "Tom has 10 shells . Mon buys 7 . Eve loses 3 . Tue doubles it . A :"
TOY = [
    "Mon buys 7 = 17 ; Tue doubles it = 34 ; #### 34",
    "Mon buys 7 = 17 ; Eve loses 3 = 14 ; #### 14",
    "#### 20",
]
REAL_QUESTION = (
    "A bakery sells croissants for $3 each & muffins for $2.50 each. On Saturday it sold 45 croissants and "
    f"30% more muffins than croissants_sold. If ingredients cost it $120 and wages #2 were {80}, how much "
    "did it earn?"
)
REAL = (
    "First, the bakery sold 45 croissants at $3 each, so it took 45*3=$135 for croissants.\nThen it sold "
    "30% more muffins: 45*1.3=58.5, which we round to 59 muffins, since nobody buys half a muffin.\nThe "
    "muffins brought in 59*2.50=$147.50.\nAltogether that makes 135+147.50=$282.50 before costs.\n"
    r"Costs were 120+80=$200, so \boxed{82.5} is left, i.e. about 29.2% of 282.50_total ~ ^2." + "\n"
    "To check: 282.50-200=82.50, and 82.50+200=282.50, as it should be.\n"
)


def settings(kind=FiguresStage, **changes):
    values = {
        "study": "test",
        "tasks": {"arithmetic": "arithmetic", "gsm8k": "gsm8k", "aqua": "aqua"},
        "cut_from_test": [],
        "models": ["toy"],
        "datasets": ["arithmetic"],
        "recipes": ["good"],
        "prompt_seeds": [0, 1, 2],
        "plans": PLANS,
        "layouts": dict.fromkeys(changes.get("recipes", ["good"]), "bos_first"),
        "act": Act(),
        "flow": Flow(),
        "trigger": Trigger(),
        "locate": Locate(),
        "corrupt": Corrupt(),
        "saliency": Saliency(),
        "significance": Significance(),
        "statistics": Statistics(),
        "figures": Figures(),
    }
    return kind(**{name: value for name, value in {**values, **changes}.items() if name in kind.model_fields})


def table(path, name, rows):
    """Write and read rows as the stages do, so that nothing is drawn that the schema would refuse."""
    tables.write(path, name, rows, {"peak_gb": 0.5})
    return path


def prompt_rows(is_text, **changed):
    """Return table `prompts` of a discrete prompt, or of a soft one made before costs were counted."""
    row = {
        "tuner": "pez" if is_text else "prompt_tuning", "order": "bos_first", "vectors": 3,
        "token_ids": [5, 9, 30] if is_text else [], "text": "step by_100% {step}" if is_text else None,
        "tuned_steps": 40, "kept_step": 20, "start_loss": 0.5 if is_text else math.nan, "validation_loss": 0.25,
        **dict.fromkeys(("passes", "gradients", "tokens"), 3000.0 if is_text else math.nan),
    }  # fmt: skip
    return pd.DataFrame([row | changed])


def outcome_rows(rng, questions=40, real=False, fired=0.3, oracle=True, plans=PLANS):
    rows = []
    truth = {plan: rng.random(questions) < p for plan, p in zip(plans, rng.uniform(0.4, 0.8, len(plans)), strict=True)}
    fires = rng.random(questions) < fired
    for plan, number in itertools.product(plans, range(questions)):
        fire = bool(fires[number]) if plan == "dpc" else plan != "prompt_tuning"
        source = plan if fire or plan != "dpc" else "prompt_tuning"
        right = bool(truth[source][number])
        rows.append(outcome(number, plan, right, fire, real, TOY[number % 3] if right else TOY[-1]))
    if oracle:
        rows += [outcome(n, "oracle_token", n % 2 == c, True, real, TOY[0], c) for n in range(6) for c in range(2)]
    return pd.DataFrame(rows)


def outcome(number, plan, right, fired, real, text, candidate=-1):
    return {
        "problem_id": f"toy-{hashlib.sha256(str(number).encode()).hexdigest()[:16]}",
        "plan": plan,
        "candidate": candidate,
        "fired": fired,
        "correct": right,
        "correct_lenient": right or number % 10 == 3,
        "answer": "82.5" if real else "34",
        "extracted": ("82.5" if real else "34") if right else (None if number % 5 == 0 else "20"),
        "extracted_lenient": "34",
        "text": REAL * 3 if real else text,
        "question": f"{REAL_QUESTION if real else TOY_QUESTION} ({number})",
        "stop_reason": "end",
        "tokens": 20 + number % 7,
        "seconds": 0.01,
        **dict.fromkeys(COSTS, 0.0025),
        "tokens_regeneration": 3,
        "grader": "1",
    }


def evaluation_rows(rng, questions=40, plans=(*PLANS, "oracle_token")):
    rows = []
    for plan in plans:
        accuracy = round(questions * rng.uniform(0.3, 0.9)) / questions
        never = plan in ("no_prompt", "prompt_tuning", "oracle_token")
        rows.append(
            {
                "plan": plan,
                "questions": questions,
                "ineligible": 3,
                "wrong": questions // 2,
                "prompt_broke": questions // 4,
                "accuracy": accuracy,
                "low": accuracy - 0.08,
                "high": min(1.0, accuracy + 0.07),
                "accuracy_lenient": min(1.0, accuracy + 0.05),
                "fixed": int(rng.integers(0, 20)),
                "broken": int(rng.integers(0, 20)),
                "mcnemar_p": math.nan if plan == "oracle_token" else float(rng.random()),
                "fire_rate": 0.25,
                **{
                    f"{what}_{of}": math.nan if never else float(rng.random())
                    for what in ("precision", "recall")
                    for of in ("wrong", "broken")
                },
                "truncated": 1,
                "tokens": 20 + 10 * rng.random(),
                "seconds": 0.01 * rng.random(),
                **{name: 0.001 * rng.random() for name in COSTS},
                "tokens_regeneration": 5 * rng.random(),
                "memory_gb": 1 + rng.random(),
                "unchanged": False,
                "note": "",
            }
        )
    return pd.DataFrame(rows)


def accuracy_rows(evaluations, **cell):
    """Accuracies of a cell, as the tables have them; no oracle is among them."""
    rows = pd.concat(evaluations).groupby("plan", as_index=False)[["accuracy", "low", "high"]].mean()
    rows["low"] += 0.03
    return rows[~rows["plan"].str.startswith("oracle")].assign(**{"recipe": "good", **cell})


def evidence_rows(rng, right=50, wrong=50):
    count = right + wrong
    correct = np.arange(count) < right
    s_ifp = np.clip(rng.normal(0.25, 0.06, count) + 0.05 * ~correct, 0, 1)
    return pd.DataFrame(
        {
            "problem_id": [f"toy-{n:04d}" for n in range(count)],
            "split": "test",
            "correct_unprompted": False,
            "eligible": True,
            "fired": False,
            "in_correlation": np.arange(count) % 2 == 0,
            "in_separation": True,
            "correct": correct,
            "nll": rng.random(count),
            "rationale_tokens": 20,
            "steps": 2,
            "accumulation": rng.random(count),
            "accumulation_z": rng.normal(size=count),
            "accumulated": [None if n % 10 == 0 else bool(n % 3 == 0) for n in range(count)],
            "located": 2,
            "located_at_zero": False,
            "s_ifp": np.where(np.arange(count) == 3, np.nan, s_ifp),
            "flow_latter": rng.random(count) * 1e-3,
            "flow_changed": [bool(n % 4 == 0) for n in range(count)],
        },
        columns=list(tables.SCHEMAS["evidence"]),
    )


def layer_rows(rng, layers=6):
    grid = itertools.product(("p→q", "p→r", "q→r", "r→r"), range(layers))
    scale = {"p→q": 4e-4, "p→r": 2e-4, "q→r": 6e-4, "r→r": 3e-3}
    rows = []
    for block, layer in grid:
        mean = scale[block] * (1.5 + math.sin(1 + layer / layers * 5)) * rng.uniform(0.9, 1.1)
        rows.append(
            {
                "block": block,
                "layer": layer,
                "mean": mean,
                "low": 0.8 * mean,
                "high": 1.2 * mean,
                "instances": 100,
            }
        )
    return pd.DataFrame(rows)


def accumulation_rows(rng, layers=6, vectors=8):
    share = rng.dirichlet(np.linspace(0.5, 3, vectors), layers)
    layer, vector = np.indices(share.shape)
    return pd.DataFrame({"layer": layer.ravel(), "vector": vector.ravel(), "mean": share.ravel(), "instances": 100})


def position_rows(rng, bins=10, groups=("right", "wrong")):
    rows = []
    for group, part in itertools.product(groups, range(bins)):
        mean = 2e-4 * (2 - part / bins) * (1.3 if group == "wrong" else 1) * rng.uniform(0.95, 1.05)
        rows.append(
            {
                "group": group,
                "bin": part,
                "mean": mean,
                "low": 0.85 * mean,
                "high": 1.15 * mean,
                "instances": 50,
            }
        )
    return pd.DataFrame(rows, columns=list(tables.SCHEMAS["positions"]))


def finding_rows(rng, known=True):
    rows = []
    for name in wording.FINDINGS:
        value = float(rng.uniform(0.55, 0.8)) if known else math.nan
        ends = (value - 0.1, value + 0.1)
        p, note = (0.02, "") if known else (math.nan, "not estimable: 3 right calibration cases")
        rows.append({"name": name, "value": value, "low": ends[0], "high": ends[1], "p": p, "n": 100, "note": note})
    return pd.DataFrame(rows).assign(at_chance=False)


def threshold_rows(share=0.3, right_cases=50):
    """The one row of table `thresholds`; without `share` DPC never fires."""
    fitted = {"share": share, "net": 1, "static_vector": -1, "right_cases": right_cases, "calibration_questions": 100}
    return pd.DataFrame([dict.fromkeys(tables.SCHEMAS["thresholds"]) | fitted | {"note": ""}])


def curve_rows(rng, fires=True):
    share = np.linspace(0.1, 0.9, 9)
    fixed, broken = rng.integers(0, 20, 9), rng.integers(0, 20, 9)
    net = fixed - broken if fires else -np.abs(fixed - broken)
    chosen = (np.arange(9) == int(np.argmax(net))) & fires
    counts = {"share": share, "fired": fixed + broken, "fixed": fixed, "broken": broken, "net": net}
    return pd.DataFrame({**counts, "accuracy": 0.5, "youden": math.nan, "chosen": chosen})


def exemplar_rows(rng, size=30, vectors=8, roles=("right", "wrong"), order=("BOS", "prompt")):
    """Maps of inputs that begin as `order` says."""
    parts = {"BOS": ["BOS"], "prompt": [f"p{n}" for n in range(vectors)]}
    head = [token for part in order for token in parts[part]]
    rows = []
    for role, layer in itertools.product(roles, range(5)):
        values = np.tril(10 ** rng.normal(-3.5, 0.8, (size, size)))
        tokens = [*head, *(20 * [*TOY_QUESTION.split(), *TOY[0].split()])]
        rows.append(
            {
                "problem_id": f"toy-{role}",
                "role": role,
                "layer": layer,
                "size": size,
                "vectors": vectors,
                "question_tokens": (size - len(head)) // 2,
                "prompt_start": head.index("p0"),
                "tokens": tokens[:size],
                "saliency": values.ravel(),
            }
        )
    return pd.DataFrame(rows, columns=list(tables.SCHEMAS["exemplars"]))


def interpretability_rows(rng, vectors=8, nll=10.0, questions=40, corrupted=2, draws=5, reader=False):
    """What a prompt says; its text has about this mean NLL."""
    tokens = " ".join(f"word{n}" for n in rng.integers(0, 999, vectors))
    kinds = ["own", *["corrupted"] * corrupted, "instruction", *["random"] * draws]
    own = {"asked": [f"toy-{n:04d}" for n in range(questions)]}
    own |= {f"output_{name}": list(rng.random(questions)) for name in ("raw", "centred", "kl", "agreement")}
    measures = {"distance": 1.5, "distance_relative": 0.8, "cosine_distance": 0.3}
    rows = []
    for kind in kinds:
        is_read = kind in ("own", "corrupted")
        rows.append(
            {
                "prompt": kind,
                "masked": [1] if kind == "corrupted" else None,
                "questions": 20 if kind == "corrupted" else None,
                "changed": 1 if kind == "corrupted" else None,
                "token_ids": list(range(vectors)),
                "words": tokens.split(),
                "text": "Think step by step." if kind == "instruction" else tokens,
                **dict.fromkeys(measures, math.nan),
                **(measures if is_read else {}),
                "nll": 2.5 if kind == "instruction" else nll + rng.normal(0, 0.3),
                "reader_nll": nll + 1 if reader else math.nan,
                **(own if kind == "own" else dict.fromkeys(own)),
            }
        )
    return pd.DataFrame(rows, columns=list(tables.SCHEMAS["interpretability"]))


def cell_files(folder, seeds=3, real=False, layers=6, vectors=8, size=30, bad=False):
    """Write a cell's tables, one set per seed; `bad`: nothing fires, no wrong instance, nothing estimable."""
    names = "outcomes", "evaluation", "evidence", "layers", "accumulation", "positions", "findings", "curves"
    files = {name: [] for name in names}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rows = {
            "outcomes": outcome_rows(rng, real=real, fired=0.0 if bad else 0.3),
            "evaluation": evaluation_rows(rng),
            "evidence": evidence_rows(rng, wrong=0 if bad else 50),
            "layers": layer_rows(rng, layers),
            "accumulation": accumulation_rows(rng, layers, vectors),
            "positions": position_rows(rng, groups=("right",) if bad else ("right", "wrong")),
            "findings": finding_rows(rng, known=not bad),
            "curves": curve_rows(rng, fires=not bad and seed != 1),
        }
        for name, frame in rows.items():
            schema = "threshold_curve" if name == "curves" else name
            files[name].append(table(folder / f"{name}{seed}.parquet", schema, frame))
    roles = ("right",) if bad else ("right", "wrong")
    exemplars = exemplar_rows(np.random.default_rng(9), size, vectors, roles)
    files["exemplars"] = [table(folder / "exemplars.parquet", "exemplars", exemplars)]
    return files


def all_of(files):
    """Return the files of every table in one list, as the rules hand them over."""
    return [file for each in files.values() for file in each]


def digest(folder):
    """Return the hash of every file in `folder`, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
