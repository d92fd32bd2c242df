"""Figures and captions from small synthetic tables: they are drawn, they say what they show, they repeat."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from dpc.config.settings import Figures
from dpc.config.slices import TablesStage
from dpc.pipeline.stages import draw_overview as overview_stage
from dpc.report import colours, drawing
from dpc.report.cells import Tables
from dpc.report.figures import (
    accumulation_figure,
    analysis_figure,
    cases_figure,
    confidence_figure,
    exemplars_figure,
    layers_figure,
    overview_figure,
    plans_figure,
    thresholds_figure,
)
from dpc.report.making import draw_figures
from dpc.report.tables import main_table
from dpc.storage import tables
from tests.support.legible import assert_legible, overlap, texts
from tests.support.paths import ROOT
from tests.support.report_samples import (
    FIGURES,
    REAL,
    accumulation_rows,
    accuracy_rows,
    all_of,
    cell_files,
    curve_rows,
    digest,
    evaluation_rows,
    evidence_rows,
    exemplar_rows,
    finding_rows,
    interpretability_rows,
    layer_rows,
    outcome_rows,
    position_rows,
    prompt_rows,
    settings,
    table,
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A toy cell, drawn once by the stage."""
    folder = tmp_path_factory.mktemp("toy")
    files = cell_files(folder / "in", size=16)
    draw_figures(FIGURES, Tables(all_of(files), settings()), folder / "out")
    return folder, files


def test_every_figure_is_written_with_its_caption(drawn):
    folder, _ = drawn
    assert sorted(p.name for p in (folder / "out").iterdir()) == sorted(
        f"{name}.{ending}" for name in FIGURES for ending in ("pdf", "svg", "txt")
    )
    for name in FIGURES:
        caption = (folder / "out" / f"{name}.txt").read_text()
        first_only = name in ("cases", "accumulation", "exemplars")
        assert ("prompt seed 0;" if first_only else "prompt seeds 0, 1, 2") in caption
        assert "Study test: model toy; dataset arithmetic; recipe good" in caption
        assert "[BOS if any, prompt, question]" in caption
        assert caption.startswith("Look ") or name == "confidence"


@pytest.mark.parametrize(
    ("name", "phrases"),
    [
        ("cases", ["3 of 40 test questions", "DPC fired on"]),
        (
            "layers",
            [
                "100 test instances",
                "3 seeds",
                "counted from 0",
                "95 % interval",
                "mean over heads of absolute",
            ],
        ),
        (
            "accumulation",
            [
                "8 prompt vectors",
                "100 test instances",
                "shallow layers: 0–2",
                "100 test questions locate",
                "if each question located one at random",
            ],
        ),
        ("exemplars", ["right: toy-right, 16 tokens; wrong: toy-wrong, 16 tokens"]),
        ("analysis", ["50 test instances", "49 right and 50 wrong", "10 bins", "10 of them"]),
        ("confidence", ["100 test instances per seed", "95 %"]),
        (
            "thresholds",
            ["9 values of R", "never fire, because no R has a gain: 1 of 3"],
        ),
        (
            "plans",
            [
                "40 test questions",
                "3 seeds",
                "upper bound",
                "read leniently",
                "Cut short at max_new_tokens: No prompt 1 of 40",
            ],
        ),
    ],
)
def test_captions_give_counts_and_settings(drawn, name, phrases):
    caption = (drawn[0] / "out" / f"{name}.txt").read_text()
    assert [phrase for phrase in phrases if phrase not in caption] == []


def test_two_processes_draw_the_same_bytes(drawn, tmp_path):
    """Hash seeds differ on purpose: an order taken from a set would show."""
    script = (
        "import sys; from pathlib import Path\nfrom dpc.report import drawing; from dpc.report.figures import "
        "cases_figure; from dpc.storage import tables; from dpc.storage.provenance import short\nfrom "
        "tests.support.report_samples import settings\nfiles = [Path(sys.argv[1]) / f'outcomes{n}.parquet' for n in "
        "range(3)]\nmade = cases_figure.draw(tables.read(files[0], 'outcomes'), settings())\n"
        "drawing.save(made.figure, Path(sys.argv[2]) / 'cases', made.caption, short(files))\n"
    )

    running = []
    for seed in ("1", "2"):
        arguments = [str(drawn[0] / "in"), str(tmp_path / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        running.append(subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment, cwd=ROOT))
    assert [process.wait() for process in running] == [0, 0]
    first, second = digest(tmp_path / "1"), digest(tmp_path / "2")
    assert len(first) == 3
    assert first == second
    here = digest(drawn[0] / "out")
    assert first == {name: here[name] for name in first}


def located_rows(rng, vectors, one=False):
    """Return the vector that each of 300 questions locates: a few of them, or always the same."""
    return pd.Series(np.zeros(300, int) if one else rng.integers(0, 3, 300) * (vectors // 3))


def every_drawing(rng, chosen, real=False, layers=6, vectors=8, size=30, bad=False):
    seeds = len(chosen.prompt_seeds)
    groups = ("right",) if bad else ("right", "wrong")
    found = [finding_rows(rng, known=not bad) for _ in range(seeds)]
    outcomes = outcome_rows(rng, real=real, fired=0.0 if bad else 0.3)
    evaluations = [evaluation_rows(rng) for _ in range(seeds)]
    curves = [curve_rows(rng, fires=not bad) for _ in range(seeds)]
    bands = (1, layers // 3), (layers // 2, layers - 2)
    return {
        "cases": cases_figure.draw(outcomes, chosen),
        "layers": layers_figure.draw([layer_rows(rng, layers)] * seeds, chosen, *bands),
        "accumulation": accumulation_figure.draw(
            accumulation_rows(rng, layers, vectors), located_rows(rng, vectors, one=bad), chosen, bands[0]
        ),
        "exemplars": exemplars_figure.draw(exemplar_rows(rng, size, vectors, groups), chosen, (0, 2), (3, 4)),
        "analysis": analysis_figure.draw(
            found, evidence_rows(rng, wrong=0 if bad else 50), position_rows(rng, groups=groups), chosen
        ),
        "confidence": confidence_figure.draw(found, chosen),
        "thresholds": thresholds_figure.draw(curves, chosen),
        "plans": plans_figure.draw(evaluations, accuracy_rows(evaluations), chosen),
        "overview": overview_figure.draw(
            {"good": evaluations, "over_reaching": evaluations}, accuracy_rows(evaluations), chosen
        ),
    }


CASES = {
    "toy": ({}, {}),
    "real": (
        {"real": True, "layers": 40, "vectors": 100, "size": 400},
        {"figures": Figures(cases=6), "recipes": ["a_b%$"]},
    ),
    "bad": ({"bad": True, "size": 16}, {"prompt_seeds": [7], "figures": Figures(cases=6)}),
}


@pytest.fixture(scope="module", params=list(CASES))
def made(request):
    """All drawings of a toy-like, a real-like and a degenerate cell."""
    case, changes = CASES[request.param]
    return request.param, every_drawing(np.random.default_rng(3), settings(**changes), **case)


def test_there_is_room_to_say_where_a_figure_comes_from(made):
    commits, hashes = "a" * 12, "b" * 12
    origin = (
        f"Made with dpc 0.1.0, commit {commits} and {commits}; model {hashes}; data {hashes}; prompt {hashes} (all 6)."
    )
    for name, drawing_ in made[1].items():
        before = list(drawing_.figure.texts)
        drawing.sign(drawing_.figure, origin)
        added = [text for text in drawing_.figure.texts if text not in before]
        covered = [text.get_text() for text in before for line in added if overlap(text, line)]
        for text in added:
            text.remove()
        assert added
        assert covered == [], name


def test_nothing_overlaps_and_nothing_is_clipped(made):
    for name, drawing_ in made[1].items():
        try:
            assert_legible(drawing_.figure)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_degenerate_input_is_drawn_and_said(made):
    which, made = made
    if which != "bad":
        return
    assert "no wrong instance at hand" in texts(made["exemplars"].figure)
    assert "no wrong instance at hand" in made["exemplars"].caption
    assert "not estimable" in texts(made["analysis"].figure)
    assert "no wrong instance at hand" in texts(made["analysis"].figure)
    assert "50 right, 0 wrong" in made["analysis"].caption
    assert texts(made["confidence"].figure).count("not estimable") == 3
    assert "seed 7: never fires" in texts(made["thresholds"].figure)
    assert "DPC fired on 0 of 40 questions" in made["cases"].caption
    assert "DPC did not fire" in texts(made["cases"].figure)
    assert "prompt seed 7" in made["layers"].caption


def test_empty_tables_are_drawn_and_said():
    chosen = settings()
    none = [tables.empty("layers")] * 3
    assert "no instance at hand" in texts(layers_figure.draw(none, chosen).figure)
    assert "no instance at hand" in texts(
        accumulation_figure.draw(tables.empty("accumulation"), pd.Series([]), chosen).figure
    )
    empty = exemplars_figure.draw(tables.empty("exemplars"), chosen, None, None)
    assert "no right instance at hand; no wrong instance at hand" in empty.caption
    found = [tables.empty("findings")] * 3
    made = analysis_figure.draw(found, tables.empty("evidence"), tables.empty("positions"), chosen)
    assert "no right and no wrong instance at hand" in texts(made.figure)
    assert "not estimable" in texts(confidence_figure.draw(found, chosen).figure)
    assert "no value of R" in texts(thresholds_figure.draw([tables.empty("threshold_curve")] * 3, chosen).figure)
    page = cases_figure.draw(tables.empty("outcomes"), chosen)
    assert "No case: no question" in texts(page.figure)
    assert "Not evaluated: No prompt, Prompt tuning, DPC" in page.caption


def test_chance_and_a_missing_group_are_not_written_over_each_other():
    found = finding_rows(np.random.default_rng(0), known=False).assign(at_chance=True)
    instances = evidence_rows(np.random.default_rng(0), right=0)
    made = analysis_figure.draw([found], instances, position_rows(np.random.default_rng(0)), settings(prompt_seeds=[0]))
    made.figure.draw_without_rendering()
    said = [text for text in made.figure.axes[1].texts if "right" in text.get_text() or "chance" in text.get_text()]
    assert [text.get_text().split()[0] for text in said] == ["no", "not"]
    assert not overlap(*said)


def test_seeds_whose_flow_change_is_not_estimable_are_named():
    draw = np.random.default_rng(0)
    found = [finding_rows(draw), finding_rows(draw, known=False), finding_rows(draw)]
    made = analysis_figure.draw(found, evidence_rows(draw), position_rows(draw), settings())
    assert "Not estimable: seed 1 (3 right calibration cases). (b)" in made.caption
    known = settings(prompt_seeds=[0, 2])
    made = analysis_figure.draw(found[::2], evidence_rows(draw), position_rows(draw), known)
    assert "Not estimable" not in made.caption


def test_colours_of_right_and_wrong_stand_for_nothing_else(made):
    panel = made[1]["analysis"].figure.axes[0]
    assert {line.get_color() for line in panel.lines} <= {colours.BLACK}


def test_numbers_of_one_seed_say_which(made):
    which, drawn = made
    above = [text.get_text().split("\n")[0] for axes in drawn["analysis"].figure.axes for text in axes.texts]
    assert above.count("seed 7:" if which == "bad" else "seed 0:") == 3


@pytest.mark.parametrize(("sizes", "labels"), [((24, 25), "key position"), ((23, 24), "key token")])
def test_both_exemplars_are_labelled_alike(sizes, labels):
    rng = np.random.default_rng(0)
    rows = [exemplar_rows(rng, size, 8, [role]) for size, role in zip(sizes, ("right", "wrong"), strict=True)]
    made = exemplars_figure.draw(pd.concat(rows), settings(), (0, 1), (2, 2))
    shown = [axes.get_xlabel() for axes in made.figure.axes if axes.get_xlabel()]
    assert len(shown) == 4
    assert all(label.startswith(labels) for label in shown)
    assert "Right instance, deep layer 2" in [axes.get_title("left") for axes in made.figure.axes]
    ticks = [tick for axes in made.figure.axes[:4] for tick in axes.get_xticklabels()]
    assert min(tick.get_fontsize() for tick in ticks) >= 7


@pytest.mark.parametrize("size", [100, 256, 257, 700])
def test_a_large_map_keeps_its_brightest_tokens(size):
    """A prompt's vector is one column among hundreds: to leave out every second column would lose it."""
    values = np.random.default_rng(0).random((size, size))
    values[:, size // 3] = 9.0
    found, side = exemplars_figure.pooled(values), exemplars_figure.cell_side(size)
    assert len(found) == -(-size // side) <= 256
    assert (found[:, size // 3 // side] == 9).all()
    assert found[1, 2] == values[side : 2 * side, 2 * side : 3 * side].max()


def test_zero_saliency_is_drawn():
    rows = layer_rows(np.random.default_rng(0)).assign(mean=0.0, low=0.0, high=0.0)
    assert_legible(layers_figure.draw([rows], settings(prompt_seeds=[0])).figure)
    maps = exemplar_rows(np.random.default_rng(0), size=12)
    maps["saliency"] = [np.zeros(144)] * len(maps)
    assert_legible(exemplars_figure.draw(maps, settings(), (0, 2), (3, 4)).figure)


@pytest.mark.parametrize("silent", [5, 2])
def test_every_band_of_the_layers_encloses_its_line(silent):
    """A layer without any flow leaves a gap: a corner at 0 would pull the band away from its line."""
    rows = layer_rows(np.random.default_rng(0))
    rows.loc[(rows["block"] == "p→q") & (rows["layer"] == silent), ["mean", "low", "high"]] = 0.0
    axes = layers_figure.draw([rows], settings(prompt_seeds=[0])).figure.axes[0]
    assert len(axes.lines) == len(axes.collections) == 4
    for line, band in zip(axes.lines, axes.collections, strict=True):
        points = axes.transData.transform(line.get_xydata()[np.isfinite(line.get_ydata())])
        corners = [path.transformed(axes.transData).vertices for path in band.get_paths()]
        assert np.isfinite(np.concatenate(corners)).all()
        for x, y in points:
            heights = [corner[1] for path in corners for corner in path if abs(corner[0] - x) < 1e-6]
            assert min(heights) < y < max(heights)


@pytest.mark.parametrize("order", [["BOS", "prompt"], ["prompt", "BOS"], ["prompt"]])
def test_segments_cover_the_input_in_order(order):
    rows = exemplar_rows(np.random.default_rng(0), order=order)
    row = rows.iloc[0]
    parts = exemplars_figure.segments(row)
    assert [name for name, _, _ in parts] == [*order, "question", "rationale"]
    assert [end - begin for name, begin, end in parts if name == "question"] == [row["question_tokens"]]
    drawn = exemplars_figure.draw(rows, settings(), (0, 2), (3, 4))
    assert any(text.get_text() == "BOS" for text in drawn.figure.findobj(Text)) == ("BOS" in order)
    assert ("Lines separate BOS, prompt" in drawn.caption) == ("BOS" in order)
    assert_legible(drawn.figure)
    assert [begin for _, begin, _ in parts] == [0, *(end for _, _, end in parts[:-1])]
    assert parts[-1][2] == row["size"]


def test_wrapped_lines_fit_and_lose_nothing():
    text = REAL + "x" * 400
    lines = drawing.wrap(text, 2.0, 7)
    assert max(drawing.text_width(line, 7) for line in lines) <= 2.0
    assert "".join(lines).replace(" ", "") == "".join(text.split())
    assert drawing.wrap("a\tb\x00c", 2.0, 7) == ["a b c"]


def test_the_overview_puts_recipes_side_by_side(tmp_path):
    chosen = settings(TablesStage, recipes=["good", "over"], prompt_seeds=[0, 1])
    rng = np.random.default_rng(1)
    files = [table(tmp_path / f"{n}.parquet", "evaluation", evaluation_rows(rng)) for n in range(4)]
    drawn = [table(tmp_path / f"{n}.outcomes", "outcomes", outcome_rows(rng)) for n in range(4)]
    read = [table(tmp_path / f"{n}.read", "interpretability", interpretability_rows(rng)) for n in range(4)]
    made = [table(tmp_path / f"{n}.prompts", "prompts", prompt_rows(n < 2)) for n in range(4)]
    overview_stage.run(chosen, tables=[*files, *drawn, *read, *made], folder=tmp_path / "out")
    figures = {f"{name}.{e}" for name in ("overview", "readability") for e in ("pdf", "svg", "txt")}
    pages = {f"{name}.{e}" for name in ("tuners", "texts") for e in ("html", "csv", "md", "tex")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == figures | pages
    assert "recipes good, over" in (tmp_path / "out" / "overview.txt").read_text()


def test_an_upper_bound_is_called_so():
    rows = evaluation_rows(np.random.default_rng(0), plans=("prompt_tuning", "dpc", "oracle_trigger"))
    shown = texts(plans_figure.draw([rows], accuracy_rows([rows]), settings(prompt_seeds=[0])).figure)
    assert "Oracle trigger (upper bound)" in shown
    assert "DPC (upper bound)" not in shown


def test_whiskers_are_the_intervals_of_the_main_table(drawn):
    """An oracle of many tries has none there and keeps the mean of its seeds'."""
    _, files = drawn
    chosen = settings(TablesStage)
    evaluations = [tables.read(path, "evaluation") for path in files["evaluation"]]
    shares = Tables(files["outcomes"], chosen).accuracies()
    shown = main_table.build(shares, chosen).numbers.dropna(subset="accuracy").set_index("plan")
    figure = plans_figure.draw(evaluations, shares, chosen).figure
    whiskers = {line.get_gid(): line.get_xdata() for line in figure.axes[0].lines}
    for plan in ("no_prompt", "prompt_tuning", "dpc"):
        assert whiskers[f"whisker {plan}"] == pytest.approx(100 * shown.loc[plan, ["low", "high"]].to_numpy(float))
    oracle = pd.concat(evaluations).query("plan == 'oracle_token'")[["low", "high"]].mean()
    assert whiskers["whisker oracle_token"] == pytest.approx(100 * oracle.to_numpy())
