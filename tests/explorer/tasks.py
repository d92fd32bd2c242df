"""Ten things to find out on a cell's page, done as a reader does them: docs/explorer.md and its pictures.

`python -m tests.explorer.tasks results/demo/builtin/arithmetic/over_reaching/seed2/explorer.html` prints the answers
with actions and seconds, and takes the pictures.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from dpc.pipeline.stages import write_explorer
from tests.explorer import browser
from tests.explorer.browser import Explorer
from tests.support import explorer_cells
from tests.support.paths import ROOT

PICTURES = ROOT / "docs" / "explorer"
CHANGED = "arithmetic-8a3d52cd21c6b9c4"
"""A question that was intervened on."""
COLOURS = 96
"""Of a picture: few enough for small files."""


class Reader:
    """Counts what a reader does on the page."""

    def __init__(self, explorer: Explorer):
        self.explorer, self.actions = explorer, 0

    def click(self, selector: str) -> None:
        self.actions += 1
        self.explorer.click(selector)

    def choose(self, selector: str, value: str) -> None:
        self.actions += 1
        self.explorer.one(f'{selector} option[value="{value}"]').click()
        self.explorer.settle()

    def write(self, text: str) -> None:
        self.actions += 1
        self.explorer.press("/", *text)

    def read(self, selector: str) -> str:
        return self.explorer.text(selector)

    def darkest(self) -> int:
        """Return the number of the token with the strongest colour: what an eye finds at once."""
        shade = "(one) => getComputedStyle(one).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
        code = (
            f"const s = [...document.querySelectorAll('#answer .token')].map({shade}); return s.indexOf(Math.min(...s))"
        )
        return int(self.explorer.js(code))


def broken(reader: Reader) -> str:
    reader.click('[data-filter="broken"]')
    return f"{reader.read('.link')}, one of {reader.read('[data-filter=broken] .count')}"


def masked(reader: Reader) -> str:
    reader.click('[data-filter="broken"]')
    (found,) = re.findall(r"masked: p(\d+)", reader.read("#parts-at"))
    reader.click(f"#v{found}")
    return reader.read("#vector-note")


def part(reader: Reader) -> str:
    reader.click('[data-filter="broken"]')
    reader.click("#answer .parts")
    tokens = f"{reader.read('#answer .parts')!r}, then {reader.read('#other .parts')!r}"
    return f"{reader.read('#parts-at').partition(';')[0]}: {tokens}"


def unprompted(reader: Reader) -> str:
    reader.click('[data-filter="fired"]')
    return reader.read('[data-filter="unprompted"] .count')


def sources(reader: Reader) -> str:
    reader.click('[data-filter="broken"]')
    reader.click(f"#t{reader.darkest()}")
    return f"{reader.read('#token-title')}, {reader.read('.piece')!r}: {reader.read('#contributors li:first-child')}"


def shallow(reader: Reader) -> str:
    reader.click('[data-filter="broken"]')
    deep = reader.darkest()
    reader.click('[data-band="shallow"]')
    return f"token {deep + 1} in deep layers, token {reader.darkest() + 1} in shallow layers"


def affected(reader: Reader) -> str:
    reader.choose("#sort", "share")
    note = re.search(r"Affected share [\d.]+ %", reader.read("#trigger-note"))
    return f"{note[0] if note else ''}; {reader.read('#base-title + .verdict')}"


def plans(reader: Reader) -> str:
    before = [reader.read(f'[data-filter="{name}"] .count').partition(" ")[0] for name in ("fixed", "broken")]
    reader.choose("#plan", "static_mask")
    after = [reader.read(f'[data-filter="{name}"] .count').partition(" ")[0] for name in ("fixed", "broken")]
    return f"DPC fixed {before[0]} and broke {before[1]}; one static mask fixed {after[0]} and broke {after[1]}"


def search(reader: Reader) -> str:
    reader.click('[data-filter="wrong"]')
    reader.click('[data-filter="unprompted"]')
    reader.write("stamps")
    return f"{len(reader.explorer.listed())} cases, the first {reader.read('.link')}"


def link(reader: Reader) -> str:
    reader.click('[data-filter="fixed"]')
    reader.click("#t4")
    address = reader.explorer.driver.current_url.partition("#")[2]
    seen = reader.read("#token")
    reader.explorer.open(address)
    return f"#{address}; the same is seen: {'yes' if reader.read('#token') == seen else 'no'}"


TASKS: dict[str, Callable[[Reader], str]] = {
    "Find a case that DPC broke.": broken,
    "Which vector was masked there?": masked,
    "At which token do the two answers part?": part,
    "What share of the questions that DPC fired on is right without the prompt?": unprompted,
    "Which token of that broken case gets the most flow from the prompt, and from which vector?": sources,
    "Is it the same token in the shallow layers?": shallow,
    "Is the answer with the largest affected share right?": affected,
    "Which fixes more answers here, DPC or one static mask?": plans,
    "Find a question about stamps that the prompt broke.": search,
    "Send somebody the case that you see, with the token that you mean.": link,
}


def main(file: Path) -> None:
    """Do every task on a page, print what came of it, and take its picture; then pictures of other sizes."""
    PICTURES.mkdir(exist_ok=True)
    with browser.started() as driver:
        for number, (task, do) in enumerate(TASKS.items(), 1):
            reader = Reader(Explorer(driver, file.resolve()))
            reader.explorer.open(size=(1280, 800))
            began = time.monotonic()
            answer = do(reader)
            print(f"{number}. {task} {answer} ({reader.actions} actions, {time.monotonic() - began:.1f} s)")
            take(driver, f"task{number}")
        Explorer(driver, file.resolve()).open("only=broken&token=18&show=share", browser.PHONE, "dark")
        take(driver, "phone")
        Explorer(driver, file.resolve()).open(f"only=caused&case={CHANGED}", (1280, 1500))
        take(driver, "causes")
        with tempfile.TemporaryDirectory() as folder:
            size = explorer_cells.Size(questions=20, layers=24, tokens=300, vectors=100, kept=20)
            large = Path(folder, "explorer.html")
            write_explorer.run(**explorer_cells.make(Path(folder), size), out=large)
            Explorer(driver, large).open("only=fired&token=200", (1440, 900))
            take(driver, "large")


def take(driver: Any, name: str) -> None:
    """Write a picture of what the browser shows."""
    time.sleep(0.3)
    picture = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
