"""Whether a figure can be read: nothing overlaps, nothing leaves the page."""

from __future__ import annotations

import itertools

from matplotlib.axes import Axes
from matplotlib.text import Text

SMALLEST = 7  # points, at the size of print


def boxes(figure):
    """Return what is written in a figure, tick labels out of view apart, and the lines of its caption."""
    unseen = set()
    for axis in (axis for axes in figure.findobj(Axes) for axis in (axes.xaxis, axes.yaxis)):
        ticks, seen = [*axis.majorTicks, *axis.minorTicks], axis._update_ticks()
        unseen |= {id(label) for tick in ticks if tick not in seen for label in (tick.label1, tick.label2)}
    shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and id(t) not in unseen]
    lines = [text for text in shown if text.get_gid() == "caption"]
    return [text for text in shown if text.get_gid() != "caption"], lines


def assert_legible(figure):
    """The caption lies beneath all else, nothing leaves the page, nothing covers a title or axis label."""
    others, lines = boxes(figure)
    ends = [line.get_window_extent() for line in lines]
    assert [(t.get_text(), t.get_fontsize()) for t in (*others, *lines) if t.get_fontsize() < SMALLEST] == []
    assert lines
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in itertools.pairwise(ends))
    top = max(box.y1 for box in ends)
    assert [t.get_text() for t in others if t.get_window_extent().y0 < top - 1] == []
    assert [t.get_text() for t in (*others, *lines) if not contains(figure.bbox, t.get_window_extent())] == []
    labels = [x for a in figure.axes for x in (a.xaxis.label, a.yaxis.label, a._left_title) if x.get_text()]
    for label in labels:
        assert [t.get_text() for t in others if t is not label and overlap(t, label)] == [], label.get_text()


def contains(page, box):
    return box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1


def overlap(one, other):
    a, b = one.get_window_extent(), other.get_window_extent()
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
