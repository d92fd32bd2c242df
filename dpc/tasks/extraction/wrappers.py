r"""Plain text behind Markdown and LaTeX: what a chat model writes as `**\(\boxed{9{,}500}\)**` reads `⟦9,500⟧`.

Wrappers change how an answer looks and never what it is. So they are taken off the whole text at once, and the readers
of numbers and letters know none of them. Line breaks, `#` and single spaces stay: they tell where an answer stands.
"""

from __future__ import annotations

import re
import unicodedata

BOX, BOX_END = "⟦⟧"
r"""What stands for `\boxed{…}` and `<answer>…</answer>`."""

_FRACTIONS = {
    sign: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", sign).split("⁄")) for sign in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
_CHARACTERS = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
    | dict.fromkeys("‐‑‒–—―−﹣－", "-")
    | dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
    | dict.fromkeys('\u200b\u200c\u200d\u2060\ufeff\r"“”„«»', "")
    | dict.fromkeys("’‘", "'")
    | dict.fromkeys("⁄∕", "/")
    | dict.fromkeys("→⟶⟹➔➜➡", "⇒")
    | {power: f"^{unicodedata.normalize('NFKC', power)}" for power in "⁰¹²³⁴⁵⁶⁷⁸⁹"}
    | {"⁻": "^-"}
    | _FRACTIONS
)
_FONTS = (
    "text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|emph|underline"
    "|boldsymbol|bm|pmb|operatorname"
)
_SIZES = (
    "left|right|bigl?|bigr|Bigl?|Bigr|biggl?|biggr|displaystyle|textstyle|bf|it|rm|large|Large|LARGE|huge|Huge"
    "|limits|ldots|dots"
)
_SIGNS = {"times|cdot|ast": "×", "div": "÷", "approx|simeq|sim": "≈", "pm": "±", "implies|Rightarrow|rightarrow": "⇒"}
_FRACTION = r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"
_EMPHASIS = r"(?<![\w*)])[*_]{1,9}(?=[^\s*_])([^\n]{0,300}?[^\s*_])[*_]{1,9}(?![\w*])"


def _rules(*pairs: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.MULTILINE), replacement) for pattern, replacement in pairs]


_BEFORE = _rules(
    (r"<(?:br|BR)\s*/?>", "\n"),
    (r"<(?:final_?)?answer>", BOX),
    (r"</(?:final_?)?answer>", BOX_END),
    (r"</?(?:b|i|u|em|strong|span|p|div|code|pre|mark|center|font)(?:\s[^<>\n]*)?>", ""),
    (r"(?<=\^[0-9-])\^(?=[0-9])", ""),  # 10¹²
    (r"\{,\}|(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ","),  # thousands
    (r"\\!|\\(?:textcolor|colorbox|color)\s*\{[^{}]*\}", ""),
    (r"\\\\(?:\[[^\]\n]*\])?", "\n"),
    (r"\\[(\[]\s*|(?<!\s)\s*+\\[)\]](?!\w)", ""),
    (r"\\[)\]]|\\[,;: ]|~", " "),
    (r"\\([^\w\s])", r"\1"),  # escaped
    *((rf"\\(?:{names})(?![A-Za-z])", sign) for names, sign in _SIGNS.items()),
    (r"(?:\^|(?<!\s))\s*+\{?\\(?:circ|degree)(?![A-Za-z])\s*\}?", "°"),
    (r"\\q?quad(?![A-Za-z])", " "),
    (rf"\\(?:{_SIZES})(?![A-Za-z])", ""),
    (r"\\([dtc]?frac)\s*([0-9])\s*([0-9])", r"\\\1{\2}{\3}"),
)
_INNERMOST = _rules(
    (rf"(?<=[0-9])\s*{_FRACTION}", r" \1/\2"),  # a mixed number
    (_FRACTION, r"\1/\2"),
    (r"\\(?:boxed|fbox|framebox)\s*\{([^{}]*)\}", rf"{BOX}\1{BOX_END}"),
    (rf"\\(?:{_FONTS})\*?\s*\{{([^{{}}]*)\}}", r"\1"),
    (r"(?<![A-Za-z}])\{([^{}]*)\}", r"\1"),  # a group, or an exponent
)
_DEEPEST = 8
_AFTER = _rules(
    (r"\\(?:boxed|fbox)(?![A-Za-z])\s*\{?", BOX),  # cut off, or without braces
    (r"(?<=[A-Za-z])\s?\^-?[0-9]+", ""),  # cm^2
    (r"[-=]+>", "⇒"),
    (r"`+", ""),
    (r"^[ \t]*[-*+•][ \t]+(?=\S)", ""),  # a bullet, not a sign
    *[(_EMPHASIS, r"\1")] * 2,  # one in another
    (r"(?<![0-9)])(?<![0-9)] )[*_]{2,}|[*_]{2,}(?![ ]?[0-9(])", ""),  # emphasis without its end, not 2 ** 3
    (r"(?<!\$)\$++\s*(?=[-+]?\s?\.?[0-9])", "$"),
    (r"\$(?![-+]?\s?\.?[0-9])", ""),
)


def plain(text: str) -> str:
    r"""Return `text` without Markdown, LaTeX, quotation marks and signs of other writing systems.

    Dashes become `-`, spaces ` `, `\frac{a}{b}` `a/b`, `2½` `2 1/2`, `\times` `×`, arrows `⇒`, and `\boxed{a}` `⟦a⟧`.
    Commands of no meaning here stay as they are.
    """
    text = text.translate(_CHARACTERS)
    for pattern, replacement in _BEFORE:
        text = pattern.sub(replacement, text)
    for _ in range(_DEEPEST):
        before = text
        for pattern, replacement in _INNERMOST:
            text = pattern.sub(replacement, text)
        if text == before:
            break
    for pattern, replacement in _AFTER:
        text = pattern.sub(replacement, text)
    return text
