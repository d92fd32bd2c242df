"""What is saved of a figure: all of its last line on the page, and pictures that keep every colour in fewer bytes."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpc.report import drawing

ORIGIN = "Made with dpc 0.1.0, commit ab974f00d76b; model 3845ee5a71d6; data 39d2771e75de; prompt 106f1474c04b (all 3)."
LONG = (
    ORIGIN.replace("76b", "76b (edited) and 0bc9e0a9a096 (edited)").replace("71d6", "71d6 (all 9)").replace("3)", "81)")
)
"""The longest that `provenance.short` says."""


def saved(folder: Path, origin: str, colours: int = 23) -> tuple[str, np.ndarray]:
    """Save a map of so many colours; return its SVG, and the map as the screen shows it."""
    figure = drawing.new_figure(2.0)
    values = np.arange(60 * 60).reshape(60, 60) % colours
    shown = np.stack([values % 256, values // 256, 0 * values, 255 + 0 * values], axis=-1).astype(np.uint8)
    figure.subplots().imshow(shown, interpolation="none")
    drawing.save(drawing.finish(figure, "Look.").figure, folder / "map", "Look.", origin)
    return (folder / "map.svg").read_text(), shown


@pytest.mark.parametrize(("origin", "lines"), [(ORIGIN, 1), (LONG, 2)])
def test_the_last_line_stays_on_the_page_however_long(origin: str, lines: int, tmp_path: Path) -> None:
    svg, _ = saved(tmp_path, origin)
    written = [text for text in re.findall(r"<text [^>]*>([^<]*)</text>", svg) if text in origin and len(text) > 9]
    assert " ".join(written) == origin
    assert len(written) == lines
    widest = max(drawing.text_width(text, drawing.CAPTION_SIZE) for text in written)
    assert widest <= drawing.WIDTH - 2 * drawing.MARGIN
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])
    lowest = max(float(y) for y in re.findall(r'<text [^>]*y="([\d.]+)"', svg))
    assert lowest < height - 0.5 * drawing.MARGIN * drawing.POINTS


@pytest.mark.parametrize(("colours", "bands"), [(23, 1), (256, 1), (1000, 4)])
def test_a_picture_keeps_every_colour(colours: int, bands: int, tmp_path: Path) -> None:
    svg, shown = saved(tmp_path, ORIGIN, colours)
    image = Image.open(BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)\"", svg)[1])))
    pixels = np.asarray(image.convert("RGBA"))
    is_same = [np.array_equal(pixels, way) for way in (shown, shown[::-1])]  # an SVG may hold it upside down
    assert any(is_same)
    assert len(image.getbands()) == bands
