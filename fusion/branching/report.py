"""What a split did, in figures and in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fusion.branching.ownership import NOBODY, SHARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.branching.cutting import Cut
    from fusion.branching.network import BranchedNetwork
    from fusion.branching.reading import DenseNetwork


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LevelOwners(_Report):
    """Which neurons of a hidden level went where, by their numbers in the network that was split."""

    shared: tuple[int, ...]
    own: dict[str, tuple[int, ...]] = Field(description="behaviour → neurons that it alone needs")
    removed: tuple[int, ...] = Field(description="neurons that no behaviour needed on the calibration rows")


class Structure(_Report):
    """Where the neurons went, and what was cut."""

    levels: tuple[LevelOwners, ...] = Field(description="hidden levels, from the features on")
    connections: int = Field(description="weights that were not zero before")
    connections_cut: int
    neuron_cost: float = Field(description="share of a link's variance that a single neuron was allowed to cost")
    lost: dict[str, float] = Field(
        description="behaviour → share of its link's variance that all cuts cost, on the calibration rows"
    )
    parameters: int = Field(description="before")
    parameters_shared: int
    parameters_own: dict[str, int] = Field(description="behaviour → parameters of the neurons that it alone needs")

    @classmethod
    def of(cls, before: DenseNetwork, cut: Cut, network: BranchedNetwork, behaviours: Sequence[str]) -> Structure:
        """Describe a cut, and the network that came of it."""
        connections = sum(int(np.count_nonzero(level.weight)) for level in before.levels)
        left = sum(int(np.count_nonzero(level.weight)) for level in cut.network.levels)
        numbered = dict(enumerate(behaviours))
        return cls(
            levels=tuple(
                LevelOwners(
                    shared=tuple(np.flatnonzero(own == SHARED).tolist()),
                    own={
                        name: tuple(np.flatnonzero(own == number).tolist())
                        for number, name in numbered.items()
                        if (own == number).any()
                    },
                    removed=tuple(np.flatnonzero(own == NOBODY).tolist()),
                )
                for own in cut.owners[:-1]
            ),
            connections=connections,
            connections_cut=connections - left,
            neuron_cost=cut.most_lost,
            lost={name: float(cut.lost[number]) for number, name in numbered.items()},
            parameters=before.parameter_count,
            parameters_shared=network.parameters_of(SHARED),
            parameters_own={name: network.parameters_of(number) for number, name in numbered.items()},
        )

    def sentences(self) -> list[str]:
        """All of it for people."""
        said = []
        for number, level in enumerate(self.levels, start=1):
            own = [f"{name} {len(units)}" for name, units in level.own.items()]
            count = len(level.shared) + len(level.removed) + sum(map(len, level.own.values()))
            gone = f"; needed by nobody and removed: {len(level.removed)}" if level.removed else ""
            alone = f"; needed by one behaviour alone: {', '.join(own)}" if own else ""
            said.append(f"structure, level {number}: {len(level.shared)} of {count} neurons are shared{alone}{gone}")
        worst = max(self.lost, key=self.lost.__getitem__)
        said.append(
            f"structure: {self.connections_cut:,} of {self.connections:,} connections are cut; before fine-tuning that "
            f"costs {worst} {self.lost[worst]:.2%} of its link's variance, and no behaviour more"
        )
        own_parameters = ", ".join(f"{name} {count:,}" for name, count in self.parameters_own.items())
        said.append(
            f"structure: {self.parameters:,} parameters have become {self.parameters_shared:,} shared ones and, of "
            f"each behaviour alone, {own_parameters}"
        )
        return said


class SplitReport(_Report):
    """What a split did to the network, and to the predictions."""

    structure: Structure
    fine_tuned: bool = Field(description="whether training on its own answers brought it nearer to them")
    lost: dict[str, float] = Field(
        description="behaviour → mean squared change of its link in the end, as a share of its variance, on the "
        "validation players"
    )
    quality_before: dict[str, float] = Field(description="behaviour → AUC or R², on the validation players")
    quality_after: dict[str, float]
    decisions: tuple[str, ...] = Field(description="all of it in sentences")
