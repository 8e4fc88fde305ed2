"""The figures of the report. Each is drawn twice, for wide and for narrow pages, so that its text is never scaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from fusion.report.numerals import count, kilobytes, percent, signed, tick
from fusion.report.panels import bars, few_ticks, legend, name_rows, panel_height, reach_of, whiskers
from fusion.report.svg import FUSED, INK, MUTED, PAPER, TEACHER, drawing, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.contract.passport import Calibration, Candidate, Curve, Passport

WIDE_PX: Final = 780
NARROW_PX: Final = 330
_SMALL_PX: Final = 166
"""Width and height of a small figure, of which several stand in a row; wide pages show it larger."""
_TICKS_PX: Final = 30
"""Room for the numbers beside a small figure."""

_AMOUNT_TICKS: Final = (0, 1, 3, 10, 30, 100, 300, 1000)
_MEASURES: Final = {"auc": "AUC", "r2_log": "R², log scale"}


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure of the page.

    Attributes:
        wide: SVG, panels beside each other.
        narrow: SVG for a telephone, panels below each other.
    """

    wide: str
    narrow: str


def quality(passport: Passport) -> Plot:
    """Teacher and fused network with intervals, and the paired change: a row per behaviour."""
    groups = [
        [row for row in passport.behaviours if row.measure == measure]
        for measure in dict.fromkeys(row.measure for row in passport.behaviours)
    ]
    changes = sorted(passport.behaviours, key=lambda row: row.change.value)
    description = (
        f"{len(changes)} behaviours; the change goes from {signed(changes[0].change.value)} ({changes[0].behaviour}) "
        f"to {signed(changes[-1].change.value)} ({changes[-1].behaviour})."
    )
    reach = reach_of([row.change for row in changes])

    def draw(figure: Figure, *, narrow: bool) -> None:
        sizes = [len(group) for group in groups]
        if narrow:
            axes = figure.subplots(2 * len(sizes), 1, height_ratios=[number for number in sizes for _ in "ab"])
            pairs = list(zip(axes[0::2], axes[1::2], strict=True))
        else:
            axes = figure.subplots(len(sizes), 2, squeeze=False, height_ratios=sizes)
            pairs = [(left, right) for left, right in axes]
        for group, (left, right) in zip(groups, pairs, strict=True):
            names = [row.behaviour for row in group]
            name_rows(left, right, names, narrow=narrow)
            whiskers(left, [row.teacher for row in group], TEACHER, filled=False, shift=-0.15, label="best teacher")
            whiskers(left, [row.fused for row in group], FUSED, filled=True, shift=0.15, label="fused network")
            whiskers(right, [row.change for row in group], FUSED, filled=True)
            right.axvline(0.0, color=MUTED, linewidth=1.0)
            right.set_xlim(*reach)
            measure = _MEASURES.get(group[0].measure, group[0].measure)
            left.set_title(measure)
            right.set_title(f"change of {measure}")
            right.xaxis.set_major_formatter(lambda value, _: tick(value))
        legend(figure, pairs[0][0])

    return _both(draw, "quality", "Quality before and after fusion", description, _heights(*map(len, groups)))


def stages(passport: Passport) -> Plot:
    """Mean and worst change, and parameters, after each stage."""
    names = [stage.stage for stage in passport.stages]
    last = passport.stages[-1]
    description = (
        f"After {', '.join(names)}: in the end {count(last.parameters)} parameters, mean change "
        f"{signed(last.mean_change)}, worst {signed(last.worst_change)}."
    )
    place = np.arange(len(names))

    def draw(figure: Figure, *, narrow: bool) -> None:
        change, size = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
        name_rows(change, size, names, narrow=narrow)
        mean = np.array([stage.mean_change for stage in passport.stages])
        worst = np.array([stage.worst_change for stage in passport.stages])
        change.hlines(place, worst, mean, color=FUSED, linewidth=2.0)
        change.plot(mean, place, "o", color=FUSED, markersize=8, label="mean")
        change.plot(worst, place, "o", color=FUSED, markerfacecolor=PAPER, markersize=7, label="worst behaviour")
        change.axvline(0.0, color=MUTED, linewidth=1.0)
        change.set_title("change against the best teachers")
        change.xaxis.set_major_formatter(lambda value, _: tick(value))
        legend(figure, change)
        parameters = [float(stage.parameters) for stage in passport.stages]
        bars(size, parameters, [count(stage.parameters) for stage in passport.stages])
        size.set_title("parameters")

    return _both(draw, "stages", "What each stage did", description, _heights(len(names)))


def layers(passport: Passport) -> Plot:
    """Bytes in the file and share of the CPU time, part by part."""
    names = [layer.layer for layer in passport.layers]
    most = max(passport.layers, key=lambda layer: layer.file_bytes)
    slowest = max(passport.layers, key=lambda layer: layer.cpu_share)
    description = (
        f"Of the file, {most.layer} takes most: {kilobytes(most.file_bytes)}. "
        f"Of the time, {slowest.layer}: {percent(slowest.cpu_share)}."
    )

    def draw(figure: Figure, *, narrow: bool) -> None:
        size, time = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
        name_rows(size, time, names, narrow=narrow)
        bars(
            size,
            [layer.file_bytes for layer in passport.layers],
            [kilobytes(layer.file_bytes) for layer in passport.layers],
        )
        bars(
            time,
            [layer.cpu_share for layer in passport.layers],
            [percent(layer.cpu_share) for layer in passport.layers],
        )
        size.set_title("bytes in the file")
        time.set_title("share of the CPU time")

    return _both(draw, "layers", "Where bytes and microseconds go", description, _heights(len(names)))


def calibration(one: Calibration, measure: str) -> str:
    """Predicted against observed, teacher and fused network: one SVG for pages of any width."""
    distances = f"teacher {one.teacher.error:.2g}, fused {one.fused.error:.2g}"
    with drawing(_SMALL_PX, _SMALL_PX) as figure:
        # A square at the same place in every figure; working a layout out would take longer than all the rest.
        figure.set_layout_engine(None)
        room = 1.0 - (_TICKS_PX + 8) / _SMALL_PX
        axes = figure.add_axes((_TICKS_PX / _SMALL_PX, 20 / _SMALL_PX, room, room))
        _reliability(axes, one.teacher, one.fused)
        if measure != "auc":
            _amounts(axes)
        return to_svg(
            figure,
            name=f"calibration-{one.behaviour}",
            title=f"Calibration of {one.behaviour}",
            description=f"Mean distance from the diagonal: {distances}.",
        )


def candidates(passport: Passport, points: Sequence[Candidate]) -> Plot:
    """Quality against size and against time: the result, its baselines, the front of the search.

    Args:
        passport: of the result.
        points: the result first, then what it is compared with.
    """
    front = passport.search.front if passport.search else ()
    description = ", ".join(point.name for point in points) + (
        f" and {len(front)} recipes of a search" if front else ""
    )

    def draw(figure: Figure, *, narrow: bool) -> None:
        panels = figure.subplots(2, 1) if narrow else figure.subplots(1, 2, sharey=True)
        for axes, size in zip(panels, (_parameters, _cpu_us), strict=True):
            if front:
                line = sorted((size(point), point.mean_change) for point in front)
                axes.plot(*zip(*line, strict=True), ".-", color=MUTED, linewidth=1.0, label="front of the search")
            for point, marker in zip(points, cycle("oDsv^Pp<>"), strict=False):
                colour = FUSED if point is points[0] else TEACHER if point is points[1] else INK
                axes.plot(
                    *(size(point), point.mean_change, marker),
                    color=colour,
                    markerfacecolor=FUSED if point is points[0] else PAPER,
                    markeredgewidth=1.6,
                    markersize=8,
                    label=point.name,
                )
            axes.axhline(0.0, color=MUTED, linewidth=1.0)
            axes.set_xscale("log")
            axes.margins(x=0.08, y=0.12)
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter(lambda value, _: count(value))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: tick(value))
            axes.tick_params(axis="y", labelcolor=MUTED, labelsize=10)
        panels[0].set_xlabel("parameters")
        panels[1].set_xlabel("CPU µs per lobby")
        figure.supylabel("mean change", fontsize=11, color=MUTED)
        legend(figure, panels[0], columns=1 if narrow else 4)

    return _both(draw, "candidates", "Beside other ways", description, (320, 560))


def _parameters(point: Candidate) -> float:
    return float(point.parameters)


def _cpu_us(point: Candidate) -> float:
    return point.cpu_us_per_lobby


def _heights(*rows: int) -> tuple[int, int]:
    """Pixels of pairs of panels with so many rows each, on wide and on narrow pages."""
    wide, narrow = (sum(panel_height(number, narrow=narrow) for number in rows) for narrow in (False, True))
    return wide, 2 * narrow


def _both(draw: Callable[..., None], name: str, title: str, description: str, heights_px: tuple[int, int]) -> Plot:
    """The figure for wide and for narrow pages."""
    svgs = []
    for narrow, width, height in zip((False, True), (WIDE_PX, NARROW_PX), heights_px, strict=True):
        with drawing(width, height) as figure:
            draw(figure, narrow=narrow)
            suffix = "narrow" if narrow else "wide"
            svgs.append(to_svg(figure, name=f"{name}-{suffix}", title=title, description=description))
    return Plot(*svgs)


def _reliability(axes: Axes, teacher: Curve, fused: Curve) -> None:
    most = 1.04 * max(*teacher.predicted, *fused.predicted, *teacher.observed, *fused.high)
    axes.plot((0.0, most), (0.0, most), color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
    axes.plot(
        teacher.predicted, teacher.observed, "D-", color=TEACHER, linewidth=1.0, markerfacecolor=PAPER, markersize=3.5
    )
    axes.vlines(fused.predicted, fused.low, fused.high, color=FUSED, linewidth=1.2)
    axes.plot(fused.predicted, fused.observed, "o-", color=FUSED, linewidth=1.0, markersize=4.5)
    axes.set(xlim=(0.0, most), ylim=(0.0, most))
    axes.tick_params(labelsize=10, labelcolor=MUTED)
    axes.xaxis.set_major_locator(few_ticks())
    axes.yaxis.set_major_locator(few_ticks())


def _amounts(axes: Axes) -> None:
    """The log1p scale that amounts are learnt and judged on, with ticks in the behaviour's own unit."""
    limits = axes.get_xlim()
    ticks = [tick for tick in _AMOUNT_TICKS if tick <= limits[1]]
    axes.set_xscale("function", functions=(np.log1p, np.expm1))
    axes.set_yscale("function", functions=(np.log1p, np.expm1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
    axes.set(xlim=limits, ylim=limits)
