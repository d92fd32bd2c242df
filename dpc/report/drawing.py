"""What every figure shares: style, names for people, captions inside the picture, and saving.

Bytes are the same from run to run: the Agg backend is forced, a user's own matplotlibrc is set aside, dates
are pinned and ids are hashed with a fixed salt. Importing this module applies all of that.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from dpc.report import colours
from dpc.storage.files import atomic

# Both the PDF's creation date and the font subsets inside it take their time from here.
os.environ["SOURCE_DATE_EPOCH"] = "0"
matplotlib.use("Agg")
matplotlib.rcdefaults()
matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))

WIDTH = 7.2  # inches
MARGIN = 0.12  # inches
CAPTION_SIZE = 7.0  # points
LINE = 1.38  # distance of two lines, in font sizes
POINTS = 72.0  # per inch
ORIGIN_LINES = 2
"""Kept under a caption for `sign`: two commits and three hashes, the most that `provenance.short` names."""

_PNG = re.compile(r"(?P<start>data:image/png;base64,)(?P<png>[\w+/=\s]+)")
_DOTS = 720.0  # resolution at which text is measured: high, so that hinting does not round widths
_RENDERER = RendererAgg(8, 8, _DOTS)


class Drawing(NamedTuple):
    """A figure and the caption that stands beneath it."""

    figure: Figure
    caption: str


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of `width` x `height` inches whose axes make room for their labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@lru_cache(maxsize=100_000)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of `text` in inches at `size` points."""
    font = FontProperties(size=size, weight=weight)
    width, _, _ = _RENDERER.get_text_width_height_descent(text, font, False)
    return width / _DOTS


def line_height(size: float) -> float:
    """Return the distance of two lines of text in inches."""
    return size * LINE / POINTS


def clean(text: str) -> str:
    """Return `text` with tabs and control characters, which no font can draw, replaced by spaces."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def wrap(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Break `text` into lines of at most `width` inches; line ends in the text are kept."""
    lines: list[str] = []
    for paragraph in clean(text).split("\n"):
        lines += _wrap_paragraph(paragraph.split(), width, size, weight)
    return lines


def _wrap_paragraph(words: list[str], width: float, size: float, weight: str) -> list[str]:
    lines = [""]
    for piece in (piece for word in words for piece in _pieces(word, width, size, weight)):
        longer = f"{lines[-1]} {piece}" if lines[-1] else piece
        if text_width(longer, size, weight) <= width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


def _pieces(word: str, width: float, size: float, weight: str) -> list[str]:
    """Cut a word that is wider than a line, such as a formula without spaces."""
    pieces = []
    while word and text_width(word, size, weight) > width:
        cut = next((n for n in range(len(word) - 1, 1, -1) if text_width(word[:n], size, weight) <= width), 1)
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word] if word else pieces


def finish(figure: Figure, caption: str, passes: int = 1) -> Drawing:
    """Print `caption` under the axes, growing the figure by the room it needs.

    `passes`: of the layout's solver; axes of a fixed aspect need two.
    """
    width, height = (float(size) for size in figure.get_size_inches())
    lines = wrap(caption, width - 2 * MARGIN, CAPTION_SIZE)
    room = (len(lines) + ORIGIN_LINES) * line_height(CAPTION_SIZE) + 2 * MARGIN
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.0, room / (height + room), 1.0, height / (height + room)))
    for number, line in enumerate(lines):
        below = room - MARGIN - (number + 1) * line_height(CAPTION_SIZE)
        text_at(figure, MARGIN, below, line, CAPTION_SIZE, gid="caption")
    # Laid out here, at one resolution: PDF and SVG show the same picture, and neither pays for it again.
    for _ in range(passes):
        figure.draw_without_rendering()
    figure.set_layout_engine(None)  # a placeholder, which "none" leaves, makes every `savefig` draw twice
    # The layout's solver differs in the last digits from run to run, and the bytes of an SVG would show it.
    for part in figure.subfigs:
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(4))
    for axes in figure.axes:
        x, y, wide, high = (round(edge, 4) for edge in axes.get_position().bounds)
        axes.set_position((x, y, wide, high))
    return Drawing(figure, caption)


def text_at(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    weight: str = "normal",
    color: str = colours.BLACK,
    gid: str | None = None,
) -> None:
    """Write one line, its baseline a little above `y`; `x` and `y` in inches from the lower left corner."""
    lift = 0.25 * size / POINTS
    inches = figure.dpi_scale_trans
    figure.text(x, y + lift, text, transform=inches, fontsize=size, fontweight=weight, color=color, gid=gid)


def heading(axes: Axes, title: str, notes: Sequence[str], lines: int) -> None:
    """Write `title` above `axes` and small `notes` beneath; panels side by side give equal `lines`."""
    size = 7.0
    axes.set_title(title, pad=4 + lines * size * LINE)
    if notes:
        text = "\n".join([*notes, *[" "] * (lines - len(notes))])
        axes.annotate(
            text, (0, 1), (0, 3), "axes fraction", "offset points", fontsize=size, va="bottom", color=colours.BLACK
        )


def say(axes: Axes, text: str, height: float = 0.5) -> None:
    """Write `text` in the middle of `axes`, or at another share of their height: what is missing, and why."""
    axes.text(0.5, height, text, transform=axes.transAxes, ha="center", va="center", color=colours.GREY, style="italic")


def layer_axis(axes: Axes, which: str) -> None:
    """Label axis `which` (x or y) with layers: whole numbers, counted from 0."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axis.set_label_text("layer (counted from 0)")


def power_of_ten(value: float, _position: object = None) -> str:
    """Write `10⁻⁴`, or `2 × 10⁻⁴` between the decades."""
    if value <= 0 or not np.isfinite(value):
        return ""
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if abs(factor - 1) < 1e-6 else f"{factor:.0f} × 10{raised}"


def dodge(number: int, count: int, room: float) -> float:
    """Return how far series `number` of `count` stands beside its place, so that all fit into `room`."""
    return 0.0 if count < 2 else room * (number / (count - 1) - 0.5)


def mark_band(axes: Axes, band: tuple[int, int], label: str, color: str = colours.LIGHT) -> None:
    """Shade layers `band`, inclusive, on a layer x-axis, and name it at the top."""
    axes.axvspan(band[0] - 0.5, band[1] + 0.5, color=color, zorder=0, linewidth=0)
    place = ((band[0] + band[1]) / 2, 1.0)
    axes.annotate(
        label,
        place,
        (0, 2),
        ("data", "axes fraction"),
        "offset points",
        ha="center",
        fontsize=7,
        color=colours.GREY,
    )


def sign(figure: Figure, origin: str) -> None:
    """Write with which code and from what a figure was made, the last words of each, in the room kept for them."""
    for number, line in enumerate(wrap(origin, figure.get_figwidth() - 2 * MARGIN, CAPTION_SIZE)):
        below = MARGIN + (ORIGIN_LINES - 1 - number) * line_height(CAPTION_SIZE)
        text_at(figure, MARGIN, below, line, CAPTION_SIZE, color=colours.GREY, gid="caption")


def save(figure: Figure, stem: Path, caption: str, origin: str) -> None:
    """Write `stem`.pdf, `stem`.svg and the caption as `stem`.txt, each atomically; see `sign` for `origin`."""
    sign(figure, origin)
    for kind in ("pdf", "svg"):
        with atomic(stem.with_name(f"{stem.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind)
            if kind == "svg":
                temporary.write_text(_PNG.sub(_packed, temporary.read_text(encoding="utf-8")), encoding="utf-8")
    with atomic(stem.with_name(f"{stem.name}.txt")) as temporary:
        temporary.write_text(f"{caption}\n{origin}\n", encoding="utf-8")


def _packed(found: re.Match[str]) -> str:
    """Return an SVG's picture with one byte a pixel, where it has at most 256 colours: matplotlib writes four."""
    pixels_HW4 = np.asarray(Image.open(BytesIO(base64.b64decode(found["png"]))).convert("RGBA"))
    colours_C4, index = np.unique(pixels_HW4.reshape(-1, 4), axis=0, return_inverse=True)
    if len(colours_C4) > 256:
        return found[0]
    few = Image.fromarray(index.reshape(pixels_HW4.shape[:2]).astype(np.uint8)).convert("P")
    few.putpalette(colours_C4[:, :3].tobytes())
    packed = BytesIO()
    few.save(packed, "png", transparency=colours_C4[:, 3].tobytes(), optimize=True)
    return f"{found['start']}{base64.b64encode(packed.getvalue()).decode()}"
