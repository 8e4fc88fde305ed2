"""`passport.json`: what was fused, what it cost in quality and what it saves. Written by fusion, read by people."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Frozen):
    """A figure with its 95 % bootstrap interval (players resampled)."""

    value: float
    low: float
    high: float


class BehaviourQuality(_Frozen):
    """Quality of one behaviour before and after fusion, on the players held out for the test."""

    behaviour: str
    measure: str = Field(description="auc for a binary behaviour, r2_log for an amount (R² on the log1p scale)")
    best_teacher: str
    teacher: Interval
    fused: Interval
    change: Interval = Field(description="fused - teacher, paired over the same resampled players")
    test_rows: int


class StageQuality(_Frozen):
    """Quality and size after one stage of the pipeline: what each step contributed."""

    stage: str
    parameters: int
    mean_change: float = Field(description="mean over behaviours, against each behaviour's best teacher")
    worst_change: float


class Cost(_Frozen):
    """What it takes to score one 64-player lobby on all behaviours."""

    parameters: int
    file_bytes: int
    cpu_us_per_lobby: float = Field(description="CPU microseconds, ONNX Runtime, one thread, median")


class LayerCost(_Frozen):
    """What one part of the graph takes of the file and of the time."""

    layer: str = Field(description="encoding, input, trunk, layers, readout, or a part of its own")
    parameters: int
    file_bytes: int
    cpu_share: float = Field(description="of the time in ONNX Runtime's kernels, one lobby, one thread")


class Energy(_Frozen):
    """Energy of one lobby; an estimate is labelled as one and never mixed with a measurement."""

    source: str = Field(description="rapl | nvml | estimate")
    joules_per_lobby: float


class Curve(_Frozen):
    """Test rows in bins of like predictions, as columns: what was predicted there, and what the players did.

    Shares of players for a binary behaviour; typical amounts otherwise: means on the log1p scale, taken back.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...] = Field(description="of the 95 % interval of what was observed (players resampled)")
    high: tuple[float, ...]
    rows: tuple[int, ...]
    error: float = Field(description="mean |observed - predicted| over rows; on the log1p scale for an amount")

    @model_validator(mode="after")
    def _as_long(self) -> Curve:
        if len({len(column) for column in (self.predicted, self.observed, self.low, self.high, self.rows)}) != 1:
            msg = "predicted, observed, low, high, rows: got columns of different lengths"
            raise ValueError(msg)
        return self


class Calibration(_Frozen):
    """Whether predictions of one behaviour mean what they say, on test players."""

    behaviour: str
    teacher: Curve = Field(description="of its best teacher")
    fused: Curve


class PrivateBehaviour(_Frozen):
    """A behaviour that is not fused: its teacher answers for it, as a branch of the same graph."""

    behaviour: str
    teacher: str
    fused_change: float = Field(description="the network's quality less the teacher's, on the validation players")
    reason: str = Field(description="why it is kept private, in a sentence")


class Candidate(_Frozen):
    """One way to serve the same behaviours: a point to compare the fused network with."""

    name: str
    mean_change: float = Field(description="mean over behaviours, against each behaviour's best teacher")
    worst_change: float
    parameters: int
    file_bytes: int
    cpu_us_per_lobby: float


class Search(_Frozen):
    """What a search over recipes found: no candidate of the front is beaten in everything by another."""

    trials: int
    judged_on: str = Field(description="the players that the changes were measured on: validation")
    front: tuple[Candidate, ...]
    chosen: str = Field(description="name of the candidate that became the artifact")


class Lineage(_Frozen):
    """Where the artifact comes from."""

    data_name: str
    data_is_synthetic: bool
    data_sha256: str
    data_notice: str = Field(default="", description="attribution the data's licence asks for")
    teachers_sha256: dict[str, str] = Field(description="teacher name → SHA-256 of its ONNX file")


class Passport(_Frozen):
    """The whole document."""

    behaviours: tuple[BehaviourQuality, ...]
    stages: tuple[StageQuality, ...]
    teachers_cost: Cost
    fused_cost: Cost
    energy: Energy
    parity_error: float = Field(description="largest |torch - ONNX Runtime| over the probe, on the served scale")
    recipe: dict[str, object]
    seed: int
    machine: str
    decisions: tuple[str, ...] = Field(default=(), description="what the pipeline chose, and why, in its own words")
    lineage: Lineage
    layers: tuple[LayerCost, ...] = Field(default=(), description="where bytes and time go, in the graph's order")
    calibration: tuple[Calibration, ...] = ()
    private: tuple[PrivateBehaviour, ...] = Field(default=(), description="behaviours that teachers answer themselves")
    baselines: tuple[Candidate, ...] = Field(default=(), description="other ways of the same size or the same job")
    search: Search | None = Field(default=None, description="where the recipe was searched for")

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The fused network first, its teachers served as they are, then the baselines; none without a quality."""
        changes = [row.change.value for row in self.behaviours]
        if not changes:
            return ()
        mean, worst = sum(changes) / len(changes), min(changes)
        return (
            Candidate(name="fused", mean_change=mean, worst_change=worst, **self.fused_cost.model_dump()),
            Candidate(name="teachers as they are", mean_change=0, worst_change=0, **self.teachers_cost.model_dump()),
            *self.baselines,
        )
