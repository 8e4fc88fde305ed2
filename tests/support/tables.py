"""A small table of invented players, one row each, and its spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
kind: table
name: arena
notice: "[by] nobody"
player: account
missing: ["?", "-1"]
keep:
  - {columns: matches, at_least: 1}
features: {skill: rating, latency_ms: ping}
behaviours:
  - {name: spent_hours, kind: regression, unit: hours, description: hours afterwards, columns: [june, july]}
  - {name: stays, kind: binary, description: plays in July, columns: july, at_least: 0.5, window_days: 31}
"""


def write_table(folder: Path, *, players: int = 400, seed: int = 0) -> tuple[Path, Path]:
    """Write `arena.csv` and `arena.yaml`: the better a player, the longer he stays. Every tenth has no ping."""
    rng = np.random.default_rng(seed)
    rating = rng.normal(1_000, 200, players)
    june, july = (rng.gamma(2.0, np.exp((rating - 1_000) / 150)) for _ in range(2))
    july = np.where(july > 1, july, 0)
    lines = ["account,rating,ping,matches,june,july"]
    for row in range(players):
        ping = "?" if row % 10 == 0 else f"{rng.gamma(4.0, 10.0):.0f}"
        lines.append(f"p{row},{rating[row]:.1f},{ping},{1 + row % 7},{june[row]:.2f},{july[row]:.2f}")
    table, spec = folder / "arena.csv", folder / "arena.yaml"
    table.write_text("\n".join(lines) + "\n")
    spec.write_text(SPEC)
    return table, spec
