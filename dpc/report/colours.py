"""Colours and markers of the figures: the palette, and those of plans, seeds, right and wrong answers."""

from __future__ import annotations

# Okabe and Ito's palette: told apart by readers with any common form of colour blindness.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#222222"
GREY, LIGHT = "#767676", "#ECECEC"
SEED_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
SEED_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RIGHT, WRONG = BLUE, RED
PLANS = {"dpc": BLUE, "prompt_tuning": "#5C5C5C", "no_prompt": "#A0A0A0"}
OTHER_PLANS = SKY


def series_look(number: int) -> tuple[str, str]:
    """Return colour and marker of series `number` (a seed, a plan); after the last, colours come with other markers."""
    again, place = divmod(number, len(SEED_COLOURS))
    return SEED_COLOURS[place], SEED_MARKERS[(place + again) % len(SEED_MARKERS)]
