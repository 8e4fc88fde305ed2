"""Tables in Markdown, one function per section of the documents; each takes what a benchmark stored."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from scipy.stats import t

from benchmarks.markdown import table

if TYPE_CHECKING:
    from collections.abc import Sequence

GAMES: Final = {
    "gran_turismo_sport": "Gran Turismo Sport",
    "outriders": "Outriders",
    "forza_horizon_4": "Forza Horizon 4",
    "skillcraft1": "StarCraft II (SkillCraft1)",
    "wowah": "World of Warcraft (WoWAH)",
    "simulated": "simulated",
}
FILES: Final = {"lean_file": "four columns", "wide_file": "2 kB per row that nobody asks for"}
DISTRIBUTIONS: Final = {
    "session_minutes": "session, minutes",
    "gap_hours": "gap, hours",
    "sessions_per_player": "sessions per player",
}
MEASURES: Final = {"auc": "AUC", "r2_log": "R² (log)"}


def fusion_summary(results: dict[str, Any]) -> str:
    """One row per game: what fusing cost in quality and what it saves."""
    rows = []
    for name, game in _games(results):
        teachers, fused = game["teachers"], game["fused"]
        rows.append(
            (
                _game(name),
                str(len(game["behaviours"])),
                _over_seeds([run["mean_change"] for run in game["seeds"].values()]),
                _over_seeds([run["worst_change"] for run in game["seeds"].values()]),
                f"{teachers['parameters']:,} → {fused['parameters']:,} (1/{_ratio(teachers, fused, 'parameters')})",
                f"{teachers['file_bytes'] / 1024:,.0f} → {fused['file_bytes'] / 1024:,.0f} "
                f"(1/{_ratio(teachers, fused, 'file_bytes')})",
                f"{teachers['cpu_us_per_lobby']:,.0f} → {fused['cpu_us_per_lobby']:,.0f} µs "
                f"(1/{_ratio(teachers, fused, 'cpu_us_per_lobby')})",
            )
        )
    header = ("game", "behaviours", "mean change", "worst change", "parameters", "KiB", "CPU per 64-player lobby")
    return table(header, rows)


def fusion(results: dict[str, Any]) -> str:
    """Per game: every behaviour's best teacher and the fused network with their intervals, then the sizes."""
    parts = [
        f"Measured on {results['machine']}. Intervals: 95 %, bootstrap over the test players; the change is paired. "
        "CPU: all teachers, or the one fused graph, in ONNX Runtime on one thread."
    ]
    for name, game in _games(results):
        quality = [
            (
                f"`{row['behaviour']}`",
                MEASURES[row["measure"]],
                row["best_teacher"],
                _interval(row["teacher"]),
                _interval(row["fused"]),
                _interval(row["change"], signed=True),
            )
            for row in game["behaviours"]
        ]
        quality.append(
            (
                "**mean / worst**",
                "",
                "",
                "",
                "",
                f"**{_signed(game['mean_change'])}** / **{_signed(game['worst_change'])}**",
            )
        )
        sizes = [(label, *_sizes(cost)) for label, cost in (("teachers", game["teachers"]), ("fused", game["fused"]))]
        parts += [
            f"### {_game(name)}",
            table(("behaviour", "measure", "best teacher", "teacher", "fused", "change"), quality),
            table(("", "parameters", "bytes", "CPU µs per 64-player lobby"), sizes),
            _other_players(game),
            _remarks(game),
        ]
    return "\n\n".join(parts)


def methods(results: dict[str, Any]) -> str:
    """Every method alone, and pairs, on one game; the best combination of each pair of families stands out."""
    best = _best_of_pairs(results["rows"])
    rows = [
        (
            f"**{name}**" if name in best else name,
            _signed(found["mean_change"]),
            _signed(found["worst_change"]),
            f"{found['parameters']:,}",
            f"{found['file_bytes']:,}",
            f"{found['cpu_us_per_lobby']:,.0f}",
        )
        for name, found in results["rows"].items()
    ]
    header = ("method", "mean change", "worst change", "parameters", "bytes", "CPU µs per 64-player lobby")
    intro = (
        f"{_game(results['game'])}, test players, one seed, short training alike for all (above it was longer); "
        f"{results['machine']}."
    )
    if best:
        intro += " Bold: of each pair of families the combination of the best mean change."
    return f"{intro}\n\n{table(header, rows)}"


def search(results: dict[str, Any]) -> str:
    """What a search within each budget took and came to."""
    rows = [
        (
            name,
            f"{found['seconds'] / 60:.1f}",
            str(found["tried"]),
            _signed(found["mean_change"]),
            _signed(found["worst_change"]),
            f"{found['fused']['parameters']:,} (1/{_ratio(found['teachers'], found['fused'], 'parameters')})",
            f"{found['fused']['file_bytes']:,} (1/{_ratio(found['teachers'], found['fused'], 'file_bytes')})",
            f"{found['fused']['cpu_us_per_lobby']:,.0f}",
        )
        for name, found in results["budgets"].items()
    ]
    header = ("budget", "minutes", "tried", "mean change", "worst", "parameters", "bytes", "CPU µs per 64-player lobby")
    intro = (
        f"{_game(results['game'])}, from trained teachers to the artifact, changes on the test players; "
        f"{results['machine']}."
    )
    return f"{intro}\n\n{table(header, rows)}"


def _best_of_pairs(rows: dict[str, dict[str, Any]]) -> set[str]:
    """Names of the best combination of each pair of families, one of each."""
    best: dict[tuple[str, ...], str] = {}
    for name, row in rows.items():
        pair = tuple(row.get("families", ()))
        if len(pair) == 2 and (pair not in best or row["mean_change"] > rows[best[pair]]["mean_change"]):
            best[pair] = name
    return set(best.values())


def baselines(results: dict[str, Any]) -> str:
    """The fused network beside other ways to serve the same, game by game."""
    parts = []
    for name, game in results["games"].items():
        unchanged = {"mean_change": 0.0, "worst_change": 0.0}
        ways = [
            ("**fused**", game["fused"]),
            *((one["name"], one) for one in game["baselines"]),
            ("teachers as they are", game["teachers"] | unchanged),
        ]
        rows = [(way, _signed(one["mean_change"]), _signed(one["worst_change"]), *_sizes(one)) for way, one in ways]
        header = (_game(name), "mean change", "worst", "parameters", "bytes", "CPU µs per 64-player lobby")
        parts.append(table(header, rows))
    return "\n\n".join(parts)


def _sizes(cost: dict[str, Any]) -> tuple[str, str, str]:
    return f"{cost['parameters']:,}", f"{cost['file_bytes']:,}", f"{cost['cpu_us_per_lobby']:,.0f}"


def _other_players(game: dict[str, Any]) -> str:
    """The change with other test players, teachers trained anew: one column per seed."""
    seeds = game["seeds"]
    names = [row["behaviour"] for row in game["behaviours"]]
    rows = [(f"`{name}`", *(_signed(run["changes"][name]) for run in seeds.values())) for name in names]
    rows += [
        (label, *(_signed(run[key]) for run in seeds.values()))
        for label, key in (("**mean**", "mean_change"), ("**worst**", "worst_change"))
    ]
    averages = [next((s for s in run.get("stages", ()) if s["stage"] == "targets"), None) for run in seeds.values()]
    rows += [
        (f"teachers' average, {label}", *(_signed(one[key]) if one else "" for one in averages))
        for label, key in (("mean", "mean_change"), ("worst", "worst_change"))
        if any(averages)
    ]
    taken = [run["seconds"] for run in seeds.values()]
    rows.append(("seconds to train and fuse", *("" if one is None else f"{one:,.0f}" for one in taken)))
    return table(("change", *(f"seed {seed}" for seed in seeds)), rows)


def _remarks(game: dict[str, Any]) -> str:
    runs, one = list(game["seeds"].values()), game["one_session"]
    ratio = one["cpu_us_per_lobby"] / one["fused_cpu_us_per_lobby"]
    return (
        f"Over {len(runs)} seeds: mean change {_over_seeds([run['mean_change'] for run in runs])}, worst "
        f"{_over_seeds([run['worst_change'] for run in runs])} (± half of 95 %). All teachers in one ONNX session: "
        f"{one['cpu_us_per_lobby']:,.0f} µs, {ratio:.0f} times the fused network's."
    )


def telemetry(results: dict[str, Any]) -> str:
    """From a log file to features and labels; the simulator beside the game it was calibrated on."""
    pipeline = [
        (
            FILES[name],
            f"{run['sessions']:,}",
            f"{run['file_bytes'] / 1e6:,.0f}",
            f"{run['wall_seconds']:.1f}",
            f"{run['peak_resident_bytes'] / 1e6:,.0f}",
        )
        for name, run in results["pipeline"].items()
    ]
    logs = results["statistics"]
    compared = [
        (f"{label}, {quantile}", *(f"{log[field][quantile]:,.1f}" for log in logs.values()))
        for field, label in DISTRIBUTIONS.items()
        for quantile in ("p25", "p50", "p75", "p95")
    ]
    for field, label in (("mean_label", "mean of"), ("learnable", "LightGBM on")):
        compared += [
            (f"{label} `{behaviour}`", *(f"{log[field][behaviour]:.3f}" for log in logs.values()))
            for behaviour in logs["simulated"][field]
            if all(behaviour in log[field] for log in logs.values())
        ]
    return "\n\n".join(
        [
            "From a CSV file to features and labels, one core:",
            table(("file", "sessions", "MB", "seconds", "peak MB"), pipeline),
            "The simulator beside a real log (LightGBM: AUC or R² on test players, is there as much to learn?):",
            table(("", *map(_game, logs)), compared),
        ]
    )


def _game(name: str) -> str:
    return GAMES[name]


def _games(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(results["games"].items(), key=lambda entry: list(GAMES).index(entry[0]))


def _ratio(teachers: dict[str, Any], fused: dict[str, Any], field: str) -> str:
    return f"{teachers[field] / fused[field]:.0f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")  # noqa: RUF001 - typographic minus, as in the prose


def _over_seeds(values: Sequence[float]) -> str:
    """Mean and half the width of its 95 % interval (Student's t)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return _signed(mean)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{_signed(mean)} ± {half:.4f}"


def _interval(figure: dict[str, float], *, signed: bool = False) -> str:
    show = _signed if signed else "{:.4f}".format
    return f"{show(figure['value'])} [{show(figure['low'])}, {show(figure['high'])}]"
