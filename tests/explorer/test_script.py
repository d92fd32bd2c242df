"""The page's script: types, style, and its arithmetic against Python's."""

from __future__ import annotations

import base64
import subprocess
import zlib
from typing import Any

import numpy as np
import pytest

from dpc.report.explorer import codes, page
from tests.explorer import browser
from tests.explorer.conftest import require
from tests.support.paths import ROOT

HERE = ROOT / "tests" / "explorer"


@pytest.mark.parametrize(
    "command", [["tsc", "-p", "."], ["biome", "check", "--config-path=.", "--error-on-warnings", str(page.FOLDER)]]
)
def test_types_and_style(command: list[str]) -> None:
    require(browser.no_tools())
    done = subprocess.run(
        [browser.TOOLS / ".bin" / command[0], *command[1:]], cwd=HERE, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


ABOUT = {
    "layers": 3,
    "vectors": 5,
    "contributors": 4,
    "sections": list(codes.SECTIONS.items()),
    "per_decade": codes.PER_DECADE,
}
TOKENS = 7


@pytest.fixture(scope="module")
def arithmetic(driver: Any) -> Any:
    """Call a function of numbers.js or state.js."""
    driver.get("about:blank")
    source = "\n".join((page.FOLDER / name).read_text() for name in ("numbers.js", "state.js"))

    def call(code: str, *arguments: Any) -> Any:
        return driver.execute_script(f"{source}\nreturn {code}", *arguments)

    return call


def arrays(seed: int) -> dict[str, np.ndarray]:
    """Numbers of a case over many decades, zeros among them."""
    sizes = {"L": 3, "T": TOKENS, "N": 5, "K": 4}
    rng = np.random.default_rng(seed)
    made = {name: 10 ** rng.uniform(-9, 3, [sizes[axis] for axis in axes]) for name, axes in codes.SECTIONS.items()}
    for array in made.values():
        array[rng.random(array.shape) < 0.1] = 0
    return made


READ = """((bytes, ...more) => {
  const found = decoded(Uint8Array.from(bytes), ...more);
  const arrays = Object.fromEntries(Object.entries(found.arrays).map(([name, values]) => [name, [...values]]));
  return [arrays, [...found.contributors], [...found.affected]];
})(...arguments)"""


@pytest.mark.parametrize("seed", range(3))
def test_what_is_packed_is_read_back_within_the_stated_error(arithmetic: Any, seed: int) -> None:
    given = arrays(seed)
    places, affected = np.arange(TOKENS * 4) * 9, np.arange(TOKENS) % 2
    plain = b"".join(array.astype(np.uint8).tobytes() for array in (places % 256, places // 256, affected))
    text, largest = codes.packed(given, plain)
    content = list(zlib.decompress(base64.b64decode(text)))
    found = arithmetic(READ, content, ABOUT, TOKENS, largest)
    assert found[1:] == [places.tolist(), affected.tolist()]
    for name, wanted in given.items():
        read, floor = np.reshape(found[0][name], wanted.shape), codes.FLOOR * wanted.max()
        small = wanted < floor
        assert (read[small] <= floor * (1 + codes.ERROR)).all()
        assert np.allclose(read[~small], wanted[~small], rtol=codes.ERROR + 1e-6, atol=0)


@pytest.mark.parametrize("values", [[1.0, -0.1], [float("nan")], [float("inf")]])
def test_what_is_no_sum_of_sizes_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="negative or not finite"):
        codes.coded(np.asarray(values))


def test_nothing_but_zeros_reads_as_zeros() -> None:
    found, largest = codes.coded(np.zeros(3))
    assert (found.tolist(), largest) == ([0, 0, 0], 0.0)


MEASURED = {"arrays": {"flow": [1, 2, 3, 4], "total": [10, 4, 6, 0], "attention": [0.1, 0.2, 0.3, 0.5]}}
"""Two layers, two tokens."""


@pytest.mark.parametrize(
    ("measure", "t", "band", "wanted"),
    [
        ("flow", 0, (0, 1), (1 + 3) / 2 / 4),
        ("flow", 1, (1, 1), 4 / 4),
        ("share", 0, (0, 1), (1 + 3) / (10 + 6)),
        ("share", 1, (0, 0), 2 / 4),
        ("share", 1, (1, 1), 0),  # nothing flows at all
        ("attention", 1, (0, 1), 0.35),
    ],
)
def test_a_measure_over_a_band(arithmetic: Any, measure: str, t: int, band: tuple[int, int], wanted: float) -> None:
    numbers = {**MEASURED, "tokens": 2, "layers": 2, "vectors": 4}
    assert arithmetic("valueAt(...arguments)", numbers, measure, t, *band) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [(["a", "b"], ["a", "b"], -1), (["a", "b"], ["a", "c"], 1), (["a"], ["a", "b"], 1), ([], ["a"], 0), ([], [], -1)],
)
def test_the_first_difference(arithmetic: Any, one: list[str], other: list[str], wanted: int) -> None:
    assert arithmetic("firstDifference(...arguments)", one, other) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, "0"), (0.00012345, "1.23 e−4"), (0.0123456, "0.0123"), (12.345, "12.3"), (123456, "1.23 e+5")],
)
def test_a_number_is_written_with_three_digits(arithmetic: Any, value: float, wanted: str) -> None:
    assert arithmetic("significant(arguments[0])", value) == wanted
