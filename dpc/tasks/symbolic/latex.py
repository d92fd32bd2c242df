r"""The LaTeX of an answer as tokens, without what has no value: sizes, fonts, colours, spacing, dollars of mathematics.

`\textcolor{blue}{\bigl( 3, \tfrac12 \bigr)}`, made up, gives `( 3 , frac 12 )`: signs, numbers, letters and commands.
Unicode is written as LaTeX first: `√2`, `½`, `x²`, `≤`. What stands within `\text{…}` is marked as prose: `\text{m}`
may be metres where `m` is a symbol.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is what it says, without the backslash of a command."""

    kind: str
    """`number`, `letters` (as many as were written together), `command` or `sign`."""
    text: str
    gap: bool = False
    """White space stands before it."""
    prose: bool = False
    """Written within `\\text{…}`."""


_STYLES = (
    r"left|right|middle|(?:[bB]igg?[lrm]?)|displaystyle|textstyle|scriptstyle|scriptscriptstyle|limits|nolimits|"
    r"rm|bf|it|sf|tt|large|Large|LARGE|small|normalsize|hfill|bold|boldmath|strut|mathstrut|"
    r"mathbf|boldsymbol|bm|pmb|mathit|mathsf|mathtt|mathcal|mathfrak|boxed|fbox|underline|ensuremath|math(?:bin|rel|ord)"
)
_PROSE = r"text|textbf|textit|textrm|textsf|texttt|textnormal|textup|emph|mbox|hbox|mathrm|operatorname"
_WITH_ARGUMENT = r"textcolor|color|colorbox|phantom|hphantom|vphantom|hspace|vspace|label|tag"
_SPACES = r"(?<!\\)\\[,;:> \n]|~|\\(?:quad|qquad|thinspace|enspace|hfil)(?![a-zA-Z])"
_ALIASES = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "sfrac", "nicefrac", "flatfrac"), "frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "binom"),
    **dict.fromkeys(("degree", "degrees", "textdegree"), "circ"),
    **dict.fromkeys(("dots", "cdots", "dotsc", "dotsb", "hdots"), "ldots"),
    **{
        "varnothing": "emptyset",
        "bar": "overline",
        "varphi": "phi",
        "varepsilon": "epsilon",
        "smallsetminus": "setminus",
    },
    **{"backslash": "setminus"},
}
_SIGNS = {
    **dict.fromkeys(("le", "leq", "leqslant", "leqq"), "<="),
    **dict.fromkeys(("ge", "geq", "geqslant", "geqq"), ">="),
    **dict.fromkeys(("ne", "neq"), "!="),
    **dict.fromkeys(("cdot", "times", "ast", "cdotp"), "*"),
    **dict.fromkeys(("vert", "mid", "lvert", "rvert", "Vert", "lVert", "rVert", "|"), "|"),
    **{"lt": "<", "gt": ">", "div": "/", "langle": "(", "rangle": ")", "lparen": "(", "rparen": ")"},
    **{"lbrack": "[", "rbrack": "]", "lbrace": r"\{", "rbrace": r"\}", "{": r"\{", "}": r"\}", "colon": ":"},
    **dict.fromkeys(("approx", "approxeq", "simeq"), "~"),
    **dict.fromkeys(("to", "rightarrow", "Rightarrow", "implies"), "→"),
    **{"equiv": "=", "prime": "'", "slash": "/", "%": "%", "$": "$", "&": "and", "\\": "\\"},
}
_UNICODE = {
    "−–—‒‐‑﹣－": "-",
    "×·⋅∙∗•": "*",
    "÷∕⁄": "/",
    "≤⩽": "<=",
    "≥⩾": ">=",
    "≠": "!=",
    "≈≅": r"\approx ",
    "∞": r"\infty ",
    "°º˚": r"^\circ ",
    "√": r"\surd ",
    "∛": r"\cuberoot ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∖": r"\setminus ",
    "∅⌀": r"\emptyset ",
    "∈": r"\in ",
    "∉": r"\notin ",
    "ℝ": r"\mathbb{R}",
    "±": r"\pm ",
    "∓": r"\mp ",
    "′": "'",
    "→": r"\to ",
    "∠": r"\angle ",
    "∧": r"\land ",
    "∨": r"\lor ",
    "⟨〈": "(",
    "⟩〉": ")",
    "∣": "|",
    "∶": ":",
    "“”": '"',
    "‘’": "'",
    "…": r"\ldots ",
}
_TABLE = str.maketrans({sign: latex for signs, latex in _UNICODE.items() for sign in signs})
_RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻]+")
_LOWERED = re.compile("[₀-₉]+")
_GREEK = re.compile("[Α-Ωα-ω]")
_VULGAR = re.compile("[¼-¾⅐-⅞]")

_DEGREES = r"""\^\s*(?: \{\s* (?: \\(?:circ|degree) | (?:\\[a-z]+\s*\{\s*)? o \s*\}? ) \s*\}
    | \\(?:circ|degree)(?![a-zA-Z]) | o(?![a-zA-Z]) )"""
_ORDINAL = r"""(?<=[0-9]) (?: \s*\^?\s* (?: \{\s*(?:\\[a-z]+\s*\{\s*)? | \\[a-z]+\s*\{\s* ) (?:st|nd|rd|th) \s*\}{1,2}
    | (?:st|nd|rd|th)(?![a-zA-Z]) )"""
_FIRST: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<!\\)(?:\\\(|\\\)|\\\[|\\\]|\$)|[*]{2,}|`"), " "),
    (re.compile(r"(?<=[0-9])\s*(?:\{\s*,\s*\}|,\s*\\!)\s*(?=[0-9])"), ""),
    (re.compile(r"(?<=[0-9])\\,\s*(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(rf"\\(?:{_WITH_ARGUMENT})\s*\*?\s*(?:\[[a-z]*\])?\s*\{{[^{{}}]*\}}"), ""),
    (re.compile(rf"\\(?:left|right)\s*\.|\\(?:{_STYLES})(?![a-zA-Z])|\\(?:{_PROSE})(?![a-zA-Z])(?!\*?\s*\{{)"), ""),
    (re.compile(r"\\mathbb\s*(?:\{\s*R\s*\}|R(?![a-zA-Z]))"), r"\\reals "),
    (re.compile(_DEGREES, re.VERBOSE), r"\\circ "),
    (re.compile(_ORDINAL, re.VERBOSE), ""),
    (re.compile(r"\.{3,}"), r"\\ldots "),
    (re.compile(r"\{:\}"), ":"),
    (re.compile(r"(?<!\\)\\!"), ""),
    (re.compile(_SPACES), " "),
)
_SPACED = re.compile(r"(?<![\w.,])[0-9]{1,3}(?: [0-9]{3})+(?!\w|\s*/)")
_TOKEN = re.compile(
    rf"""(?P<gap>\s+)
    | (?P<half>(?<![a-z])[ap]\.\s?m\b\.?)
    | \\(?:{_PROSE})(?![a-zA-Z])\*?\s*(?P<prose>\{{)
    | \\(?P<env>(?:begin|end)\s*\{{[a-zA-Z*]+\}}(?:\s*\{{[lcr|\s]*\}})?)
    | (?P<recurring>[0-9]*\.[0-9]*(?:\\(?:overline|bar|dot)\s*(?:\{{[0-9]+\}}|[0-9])|(?<=\.)\([0-9]+\)))
    | (?P<number>(?:[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)
        (?:[eE][+-]?[0-9]+(?![0-9a-zA-Z]))?)
    | \\(?P<command>[a-zA-Z]+|.)
    | (?P<letters>[a-zA-Z]+(?:[’'-](?=[a-zA-Z]{{2}})[a-zA-Z]+)*)
    | (?P<sign><=|>=|!=|==|.)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def scan(text: str) -> tuple[Token, ...]:
    """Return the tokens of an answer; raises nothing, whatever the text."""
    text = _latex(text)
    for pattern, replacement in _FIRST:
        text = pattern.sub(replacement, text)
    text = _SPACED.sub(lambda match: match[0].replace(" ", ""), text)
    return _trimmed(list(_tokens(text, prose=False)))


def _latex(text: str) -> str:
    """Write Unicode signs as LaTeX, and commands that were escaped twice (`\\\\frac`) once."""
    if "\\\\" in text and "\\begin" not in text.replace("\\\\begin", ""):
        text = re.sub(r"\\\\(?=[a-zA-Z{}$%!,;\\])", r"\\", text)
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}".replace("−", "-"), text)
    text = _LOWERED.sub(lambda m: f"_{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = _VULGAR.sub(lambda m: r" \frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", m[0]).split("⁄")), text)
    text = _GREEK.sub(lambda m: _greek(m[0]), text)
    return unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)


def _greek(letter: str) -> str:
    *_, size, _, name = f"{unicodedata.name(letter)}".split()
    return f"\\{name.lower() if size == 'SMALL' else name.capitalize()} "


def _tokens(text: str, prose: bool) -> Iterator[Token]:
    """Yield the tokens of `text`; the content of `\\text{…}` is read by itself, as prose."""
    position, gap = 0, False
    while match := _TOKEN.match(text, position):
        position, kind = match.end(), match.lastgroup or ""
        if kind == "prose":
            end = closing_brace(text, position - 1)
            inner = list(_tokens(text[position:end], prose=True))
            yield from ([replace(inner[0], gap=inner[0].gap or gap), *inner[1:]] if inner else ())
            position, gap = end + 1, text[position:end].endswith((" ", "\n"))
        elif kind == "gap":
            gap = True
        else:
            yield _token(kind, match[kind], gap, prose)
            gap = False


def _token(kind: str, text: str, gap: bool, prose: bool) -> Token:
    if kind == "half":
        return Token("letters", f"{text[0].lower()}m", gap, True)
    if kind == "recurring":
        digits = re.sub(r"[^0-9.]+", " ", text).split(" ")
        return Token("number", f"{digits[0]}({digits[1]})", gap)
    if kind == "command":
        text = _ALIASES.get(text, text)
        sign = _SIGNS.get(text)
        return Token("sign", sign, gap, prose) if sign else Token("command", text, gap, prose)
    if kind == "env":
        return Token("command", re.sub(r"\s|\*|(?<=\})\{.*", "", text), gap)
    return Token(kind, {"==": "=", "≡": "="}.get(text, text), gap, prose)


def closing_brace(text: str, start: int) -> int:
    """Return where the brace opened at `start` closes, or the end of `text`; `\\{` and `\\}` are signs, not braces."""
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0 and brace.group() == "}":
            return brace.start()
    return len(text)


def _trimmed(tokens: list[Token]) -> tuple[Token, ...]:
    """Drop full stops and quotes everywhere, other punctuation at both ends, and braces around everything."""
    kept = [token for token in tokens if not (token.kind == "sign" and token.text in '."')]
    while kept and kept[-1].kind == "sign" and kept[-1].text in ",;:=\\":
        kept.pop()
    while kept and kept[0].kind == "sign" and kept[0].text in ",;:=~":
        kept.pop(0)
    return unwrapped(tuple(kept))


OPEN = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}


def depths(tokens: Sequence[Token], brackets: Collection[str] = tuple(OPEN)) -> list[int]:
    """Return how many `brackets` are open around each token; an opening or closing one counts as outside."""
    closing = [OPEN[bracket] for bracket in brackets]
    depth, found = 0, []
    for token in tokens:
        depth -= (token.kind == "sign" and token.text in closing) or token.text.startswith("end{")
        found.append(depth)
        depth += (token.kind == "sign" and token.text in brackets) or token.text.startswith("begin{")
    return found


def unwrapped(tokens: tuple[Token, ...], brackets: str = "{") -> tuple[Token, ...]:
    """Return `tokens` without one kind of brackets around all of them."""
    closing = (OPEN[brackets], "sign")
    while len(tokens) > 1 and tokens[0].text == brackets and (tokens[-1].text, tokens[-1].kind) == closing:
        if 0 in depths(tokens)[1:-1]:
            break
        tokens = tokens[1:-1]
    return tokens


def plain(tokens: Sequence[Token]) -> str:
    """Return what the tokens say as one text: two answers that say the same are equal."""
    return " ".join(token.text for token in tokens)
