"""The predicted quantities: their names, kinds, units, label windows and links."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
LONG_SESSION_SECONDS = HOUR_SECONDS
"""A session longer than this is a long one (`next_session_long`)."""

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
"""Of behaviours, features and models: lower-case letters, digits and underscores, a letter first."""

Identifier = Annotated[str, Field(pattern=NAME_PATTERN)]


class Kind(StrEnum):
    """What sort of quantity a behaviour is; it decides the link and the quality measure."""

    BINARY = "binary"
    """A probability in [0, 1]; trained on the logit; judged by AUC."""
    REGRESSION = "regression"
    """A non-negative amount; trained on log1p; judged by R² on the log scale."""
    COUNT = "count"
    """A non-negative number of things; otherwise as a regression."""


class Behaviour(BaseModel):
    """One predicted quantity: one column of the fused network's output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier
    kind: Kind
    unit: str = Field(description="unit of the served value: probability, hours, sessions")
    description: str
    window_seconds: int | None = Field(
        default=None,
        gt=0,
        description="length of the label window, which starts at `as_of`; none where the label is the next session's",
    )

    @property
    def is_binary(self) -> bool:
        """Whether the served value is a probability."""
        return self.kind is Kind.BINARY


def to_link(values: NDArray[np.floating], behaviour: Behaviour) -> NDArray[np.float64]:
    """Served values → link scale: the logit of a probability, log1p of an amount."""
    values = np.asarray(values, dtype=np.float64)
    if behaviour.is_binary:
        probability = np.clip(values, 1e-7, 1 - 1e-7)
        return np.asarray(np.log(probability) - np.log1p(-probability))
    return np.asarray(np.log1p(np.maximum(values, 0.0)))


def from_link(links: NDArray[np.floating], behaviour: Behaviour) -> NDArray[np.float64]:
    """Link scale → served values: a probability, or a non-negative amount in the behaviour's unit."""
    links = np.asarray(links, dtype=np.float64)
    if behaviour.is_binary:
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * links)))
    return np.asarray(np.expm1(np.maximum(links, 0.0)))


def _binary(name: str, description: str, days: float | None = None) -> Behaviour:
    window = None if days is None else int(days * DAY_SECONDS)
    return Behaviour(name=name, kind=Kind.BINARY, unit="probability", description=description, window_seconds=window)


_DEFAULTS = (
    _binary("churn_7d", "no session starts in the next 7 days", 7),
    _binary("churn_14d", "no session starts in the next 14 days", 14),
    _binary("return_24h", "a session starts within 24 hours", 1),
    _binary("return_72h", "a session starts within 72 hours", 3),
    _binary("next_session_long", "the next session lasts more than 60 minutes"),
    Behaviour(
        name="playtime_7d_hours",
        kind=Kind.REGRESSION,
        unit="hours",
        description="hours played in the next 7 days",
        window_seconds=7 * DAY_SECONDS,
    ),
    Behaviour(
        name="sessions_7d",
        kind=Kind.COUNT,
        unit="sessions",
        description="sessions that start in the next 7 days",
        window_seconds=7 * DAY_SECONDS,
    ),
    Behaviour(
        name="next_gap_hours",
        kind=Kind.REGRESSION,
        unit="hours",
        description="hours until the next session starts, 14 days at most",
        window_seconds=14 * DAY_SECONDS,
    ),
)

DEFAULT_BEHAVIOURS: dict[str, Behaviour] = {behaviour.name: behaviour for behaviour in _DEFAULTS}
"""The behaviours of any session log, by name, in their served order: probabilities first, then amounts."""

COOP_BEHAVIOUR = _binary("next_session_coop", "the next session is played with others")
"""Added where the log says which sessions were co-operative."""
