"""Numbers of the page as one byte each: logarithmic codes, 32 to a decade below the largest, deflated and in base64."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

PER_DECADE, LARGEST = 32, 255
"""Codes per factor of ten, and the code of the largest number. Code 0 is 0 and what lies below code 1."""
ERROR = 10 ** (0.5 / PER_DECADE) - 1
"""Largest relative error of a number that is not coded as 0: 3.7 %."""
FLOOR = 10 ** (-(LARGEST - 0.5) / PER_DECADE)
"""Share of the largest number below which a number is coded as 0: about one in a hundred million."""

Floats = NDArray[np.float64]
SECTIONS: dict[str, str] = {
    "flow": "LT",
    "total": "LT",
    "attention": "LT",
    "question": "L",
    "question_attention": "L",
    "column": "N",
    "received": "T",
    "contribution": "TK",
    "nll": "T",
    "entropy": "T",
    "compared": "T",
}
"""The coded arrays of a case, in order, and their axes: L layer, T rationale token, N prompt vector, K contributor."""


def coded(values: Floats) -> tuple[NDArray[np.uint8], float]:
    """Return the code of each number, and the largest number. Raises ValueError for one that is negative or not finite.

    A code k > 0 stands for largest x 10^((k - 255) / 32).
    """
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("found a number that is negative or not finite; expected sums of absolute values")
    largest = float(values.max(initial=0.0))
    share = values / largest if largest > 0 else np.zeros_like(values)
    with np.errstate(divide="ignore"):
        codes = np.where(share > FLOOR, np.round(LARGEST + PER_DECADE * np.log10(share)), 0)
    return codes.astype(np.uint8), largest


def packed(arrays: Mapping[str, Floats], plain: bytes) -> tuple[str, list[float]]:
    """Return the codes of all `SECTIONS` and then the bytes `plain`, as text, and the largest number of each section.

    Neighbours are alike, so some codes are kept as differences, modulo 256: flow to the layer below, the total to flow,
    attention and contribution to the token before. Deflate then makes a sixth less of them.
    """
    codes, largest = dict[str, NDArray[np.uint8]](), list[float]()
    for name in SECTIONS:
        codes[name], top = coded(arrays[name])
        largest.append(float(f"{top:.7g}"))
    codes["total"] = codes["total"] - codes["flow"]
    for name, axis in (("flow", 0), ("attention", 1), ("contribution", 0)):
        codes[name] = np.diff(codes[name], axis=axis, prepend=np.uint8(0))
    return deflated([*(codes[name].tobytes() for name in SECTIONS), plain]), largest


def deflated(parts: Iterable[bytes], strategy: int = zlib.Z_FILTERED) -> str:
    """Return `parts` compressed to one stream, as base64; each part has Huffman codes of its own.

    The strategy is for numbers, which hardly repeat; texts ask for zlib's default.
    """
    stream = zlib.compressobj(9, memLevel=9, strategy=strategy)
    packed = [piece for part in parts for piece in (stream.compress(part), stream.flush(zlib.Z_SYNC_FLUSH))]
    return base64.b64encode(b"".join([*packed, stream.flush()])).decode()
