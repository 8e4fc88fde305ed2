"""Matplotlib figures as SVG inside a page: its text stays text, its colours are the page's own, light or dark."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.typing import RcKeyType

INK: Final = "#010101"
MUTED: Final = "#020202"
GRID: Final = "#030303"
PAPER: Final = "#040404"
TEACHER: Final = "#050505"
FUSED: Final = "#060606"
"""Stand-ins that become variables of the page's style."""

_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    TEACHER: "var(--teacher)",
    FUSED: "var(--fused)",
}
_TIDY: Final = (
    (r"<style[^>]*>.*?</style>", ""),  # would hold for the whole page
    (r'<g id="[^"]*"', "<g"),  # the names repeat from figure to figure
    (r"<!--.*?-->", ""),  # hold the text that follows once more
    (r' ?font-family: [^;"]*;', ""),  # the page's own font
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"\s*\n\s*", "\n"),
    (r"\n(?=[LMCQzZ\"])", " "),
)
"""What is replaced in matplotlib's output, by what: a third of it, and all that would collide in a page."""

_PIXELS_PER_INCH: Final = 72
"""Of matplotlib's SVG: one unit of the drawing is one pixel of the page."""

_STYLE: Final[dict[RcKeyType, Any]] = {
    "svg.fonttype": "none",
    "font.size": 11.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 1.0,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 10.0,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


@contextmanager
def drawing(width_px: int, height_px: int) -> Iterator[Figure]:
    """A new figure in the page's style: everything is to be drawn in here."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width_px / _PIXELS_PER_INCH, height_px / _PIXELS_PER_INCH))
        # Text is set in the reader's own font, which may be a little wider than the one that is measured here.
        figure.set_layout_engine("constrained", w_pad=4 / _PIXELS_PER_INCH, h_pad=4 / _PIXELS_PER_INCH, wspace=0.04)
        yield figure


def to_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an SVG element, the same for the same figure.

    Args:
        figure: made in `drawing`.
        name: unique in the page.
        title: for those who cannot see it, in a few words.
        description: what it shows, in a sentence.
    """
    out = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(
            out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"), None), facecolor="none"
        )
    drawn = out.getvalue()
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    for pattern, replacement in _TIDY:
        body = re.sub(pattern, replacement, body, flags=re.DOTALL)
    # A hundredth of a pixel is enough; between the tags stand numbers that people read.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    width, height = (round(float(inches) * _PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body}</svg>'
    )
