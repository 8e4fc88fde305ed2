"""An artifact opened to build on, and written again: what did not change is proved not to have changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion import export
from fusion.branch import served_features, without
from fusion.cost import LOBBY_PLAYERS, cpu_us, energy
from fusion.errors import FusionError
from fusion.report import page
from fusion.report.layers import layer_costs
from fusion.saved import SavedNetwork, beside
from inference.contract import artifact as artifacts
from inference.contract.passport import Cost, StageQuality
from inference.engine import Engine
from inference.engine import load as load_artifact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.pipeline import Told
    from inference.contract.artifact import Artifact
    from inference.contract.behaviours import Behaviour
    from inference.contract.passport import Passport

_DRAWN_PLAYERS: Final = 4096
"""Rows that the other behaviours' answers are compared on, bit by bit."""


@dataclass(frozen=True, slots=True)
class Fused:
    """An artifact and the network it was exported from.

    Attributes:
        artifact: verified.
        engine: its graph.
        saved: the network, as `playfuse fuse` left it beside the artifact.
    """

    artifact: Artifact
    engine: Engine
    saved: SavedNetwork

    @classmethod
    def open(cls, path: Path) -> Fused:
        """Read both.

        Raises:
            ArtifactError: the artifact is not one.
            FusionError: the network is missing, or another one than the artifact's.
        """
        artifact, engine = load_artifact(path)
        saved = SavedNetwork.load(beside(path))
        behaviours = artifact.manifest.behaviours
        model = export.to_onnx(saved.network, behaviours, dense=saved.dense, branches=saved.branches)
        if model != artifact.model:
            raise FusionError(
                str(beside(path)),
                got="the network of another artifact",
                expected=f"the one of {path}",
                fix="Fuse again.",
            )
        return cls(artifact, engine, saved)

    @property
    def behaviours(self) -> tuple[Behaviour, ...]:
        """What it predicts."""
        return self.artifact.manifest.behaviours

    def teacher_of(self, name: str) -> str | None:
        """The teacher that answers for a behaviour itself; None where the network does."""
        return next((branch.teacher.card.name for branch in self.saved.branches if name in branch.behaviours), None)

    def without_branch(self, name: str) -> Fused:
        """Without what answers for a behaviour in the network's place; the same where the network does itself."""
        branches = without(self.saved.branches, name)
        return replace(self, saved=replace(self.saved, branches=branches))

    def position(self, name: str) -> int:
        """The column of a behaviour.

        Raises:
            FusionError: it does not predict that.
        """
        names = self.artifact.manifest.behaviour_names
        if name not in names:
            raise FusionError(
                str(self.artifact.path), got=f"no behaviour {name}", expected=f"one of {', '.join(names)}"
            )
        return names.index(name)


def write(
    fused: Fused,
    behaviours: tuple[Behaviour, ...],
    priors: Mapping[str, float],
    passport: Passport,
    stage: str,
    out: Path,
    version: str,
    told: Told,
) -> Passport:
    """Check, measure, write."""
    network, branches = fused.saved.network, fused.saved.branches
    told("export", 0.0, "checking that the others answer as before")
    model = export.to_onnx(network, behaviours, dense=fused.saved.dense, branches=branches)
    engine = Engine.from_bytes(model)
    names, drawn = served_features(network, branches), _drawn(fused)
    read = np.array([fused.artifact.manifest.features.index(name) for name in names], dtype=np.int64)
    _check_others(fused, engine, behaviours, stage.partition(" ")[2], drawn, read)
    players = np.ascontiguousarray(drawn[:, read])
    lobby = players[:LOBBY_PLAYERS]
    parity = export.check_parity(export.served(network, players, behaviours, branches), engine.run(players))
    changes = [row.change.value for row in passport.behaviours]
    parameters = network.parameters_by_layer() | {one.part: one.teacher.card.parameters for one in branches}
    count = sum(parameters.values())
    found = StageQuality(stage=stage, parameters=count, mean_change=float(np.mean(changes)), worst_change=min(changes))
    passport = passport.model_copy(
        update={
            "stages": (*passport.stages, found),
            "baselines": (),  # their changes are means over the behaviours that were
            "parity_error": parity,
            "energy": energy(lambda: engine.run(lobby)),
            "layers": layer_costs(model, lobby, parameters),
            "fused_cost": Cost(
                parameters=count, file_bytes=len(model), cpu_us_per_lobby=cpu_us([lambda: engine.run(lobby)])[0]
            ),
        }
    )
    old = fused.artifact.manifest
    manifest = old.model_copy(
        update={
            "version": version,
            "features": names,
            "behaviours": behaviours,
            "priors": {behaviour.name: priors[behaviour.name] for behaviour in behaviours},
            "probe": export.make_probe(network, players, behaviours, branches),
        }
    )
    report = page.render(manifest, passport).encode() if old.has_report else None
    with fused.saved.saved(beside(out)):
        artifacts.write(out, manifest=manifest, model=model, passport=passport, report=report)
    told("export", 1.0, f"{out} written")
    return passport


def _drawn(fused: Fused) -> NDArray[np.float32]:
    """(players, features of the artifact) drawn evenly over the range of every feature, some of them missing.

    What a branch alone reads has no knots: its values are drawn from those of the probe.
    """
    knots, probe = fused.saved.network.encoding.knots, fused.artifact.manifest.probe.inputs()
    draw = np.random.default_rng(0)
    players = draw.uniform(knots[0], knots[-1], (_DRAWN_PLAYERS, knots.shape[1])).astype(np.float32)
    extra = probe[:, knots.shape[1] :]
    if extra.shape[1]:
        players = np.concatenate([players, extra[draw.integers(len(extra), size=_DRAWN_PLAYERS)]], axis=1)
    players[draw.random(players.shape) < 0.05] = np.nan
    return players


def _check_others(
    fused: Fused,
    engine: Engine,
    behaviours: Sequence[Behaviour],
    name: str,
    players: NDArray[np.float32],
    read: NDArray[np.int64],
) -> None:
    """Whoever stays answers with the same bits, alone and in a crowd; the new graph reads some columns of the players.

    Raises:
        FusionError: one does not.
    """
    before = {behaviour.name: column for column, behaviour in enumerate(fused.behaviours)}
    after = {behaviour.name: column for column, behaviour in enumerate(behaviours)}
    others = [other for other in before if other != name and other in after]
    for rows in (players, players[:1], players[:LOBBY_PLAYERS]):
        old, new = fused.engine.run(rows), engine.run(np.ascontiguousarray(rows[:, read]))
        for other in others:
            if not np.array_equal(old[:, before[other]], new[:, after[other]]):
                raise FusionError(
                    f"answers of {other}",
                    got="other bits than before",
                    expected="the same: nothing of it was trained",
                    fix="This machine adds numbers up in another order for another width: fuse the whole network anew.",
                )
