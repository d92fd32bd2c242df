"""Ways to write an answer that do not change it, for property tests of the graders."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

WRAPPERS = (
    *(r"**{}**", r"__{}__", r"*{}*", r"***{}***", r"`{}`", r"({})", r"[{}]", r'"{}"', r"“{}”", r"<b>{}</b>"),
    *(r"$ {} $", r"$${}$$", r"\({}\)", r"\[ {} \]", r"{{{}}}", r"\left( {} \right)", r"\boxed{{{}}}", r"\fbox{{{}}}"),
    *(r"\text{{{}}}", r"\textbf{{{}}}", r"\mathrm{{{}}}", r"\textcolor{{blue}}{{{}}}", r"<answer>{}</answer>"),
)
MARKS = ("#### {}", "####{}", "####\n{}", "####\n\n{}", "##### {}", "> #### {}", "**#### {}**", "#### Final Answer\n{}")
LABELS = ("{}", "Answer: {}", "**Answer:** {}", "The answer is {}", "Therefore, the final answer is: {}")
BEFORE = ("", "She has 5 + 6 = 11.\n", "#### Step 1: add 5 and 6\nIt is 11.\n\n", "#### 1. Add\n5 + 6 = 11\n")
BEHIND = ("", ".", " ", "\n", "\n\nQuestion: 5 + 6?\n#### 11", "\n\n#### Check\n5 + 6 = 11 is fine")


@st.composite
def wrapped(draw: Callable[..., str], form: str) -> str:
    """Draw `form` in up to three wrappers."""
    for wrapper in draw(st.lists(st.sampled_from(WRAPPERS), max_size=3)):
        form = wrapper.format(form)
    return form


@st.composite
def behind_mark(draw: Callable[..., str], form: str) -> str:
    """Draw a text with `form` behind a mark, between headings and another question."""
    before, mark, label, behind = (draw(st.sampled_from(choices)) for choices in (BEFORE, MARKS, LABELS, BEHIND))
    return before + mark.format(label.format(draw(wrapped(form)))) + behind
