"""Panels with a row per name, and what stands in the rows: dots with whiskers, or bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from fusion.report.svg import FUSED, GRID, INK, PAPER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.contract.passport import Interval

_ROW_PX: Final = 34
_NARROW_ROW_PX: Final = 52
_AROUND_PX: Final = 62
"""Height of what is above and below the rows of a panel."""

_NAME_LENGTH: Final = 36
"""Longer names are cut short: the page's tables have them whole."""


def panel_height(rows: int, *, narrow: bool) -> int:
    """Pixels of a panel with so many rows."""
    return rows * (_NARROW_ROW_PX if narrow else _ROW_PX) + _AROUND_PX


def name_rows(first: Axes, second: Axes, names: Sequence[str], *, narrow: bool) -> None:
    """Give two panels a row per name, the first name on top.

    Beside each other they share the names, which stand at the left. On narrow pages, one below the other, each has its
    own, and they stand above the rows.
    """
    names = [name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in names]
    for axes in (first, second):
        axes.set_ylim(len(names) - 0.5, -0.55 if narrow else -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(names)), names if axes is first and not narrow else [""] * len(names))
        across = axes.get_yaxis_transform()
        axes.hlines(np.arange(len(names) - 1) + 0.5, 0, 1, transform=across, color=GRID, linewidth=0.5)
        axes.xaxis.set_major_locator(few_ticks())
        if narrow:
            for place, name in enumerate(names):
                axes.text(0.0, place - 0.27, name, transform=across, va="bottom", fontsize=10)


def whiskers(
    axes: Axes, intervals: Sequence[Interval], colour: str, *, filled: bool, shift: float = 0.0, label: str = ""
) -> None:
    """A dot (filled) or a diamond (hollow) per row with the line of its interval, `shift` rows below the middle."""
    place = np.arange(len(intervals)) + shift
    axes.hlines(place, [i.low for i in intervals], [i.high for i in intervals], color=colour, linewidth=1.6)
    axes.plot(
        [i.value for i in intervals],
        place,
        "o" if filled else "D",
        color=colour,
        markerfacecolor=colour if filled else PAPER,
        markeredgewidth=1.6,
        markersize=7 if filled else 5.5,
        label=label,
    )


def bars(axes: Axes, values: Sequence[float], said: Sequence[str]) -> None:
    """A bar per row that says its own number: an axis would say it again."""
    drawn = axes.barh(range(len(values)), values, height=0.42, color=FUSED)
    axes.bar_label(drawn, said, padding=5, fontsize=10, color=INK)
    axes.set_xlim(0.0, 1.3 * max(*values, 1e-9))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def reach_of(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Limits of an axis on which all intervals and zero are seen."""
    low, high = min(0.0, *(i.low for i in intervals)), max(0.0, *(i.high for i in intervals))
    room = 0.06 * max(high - low, 1e-3)
    return low - room, high + room


def few_ticks() -> MaxNLocator:
    """At most five round numbers along an axis."""
    return MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])


def legend(figure: Figure, axes: Axes, *, columns: int = 2) -> None:
    """One legend above all panels, of what one of them shows."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=columns,
        handletextpad=0.4,
        columnspacing=1.4,
        borderpad=0.35,
    )
