"""How a question is put to a model (D29): instruction, worked examples, template, the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpc.config.catalogue import Format

Shot = tuple[str, str]
"""A worked example: question and gold rationale."""
Message = dict[str, str]
APART = "\n\n"
"""Between the instruction, the examples and the question."""


def render(
    question: str, form: Format, shots: Sequence[Shot] = (), chat: Callable[[list[Message]], str] | None = None
) -> str:
    """Return the text that a model reads. `chat` turns messages into text, where `form.chat` says so."""
    asked = [fill(form.template, text) for text in (*(shot for shot, _ in shots), question)]
    asked[0] = APART.join(filter(None, [form.instruction, asked[0]]))
    if chat is None:
        solved = [text + rationale for text, (_, rationale) in zip(asked, shots, strict=False)]
        return APART.join([*solved, asked[-1]])
    messages = []
    for text, (_, rationale) in zip(asked, shots, strict=False):
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": rationale}]
    return chat([*messages, {"role": "user", "content": asked[-1]}])


def fill(template: str, question: str) -> str:
    """Return the template with the question in it. Not str.format: templates and questions may hold other braces."""
    return template.replace("{question}", question)
