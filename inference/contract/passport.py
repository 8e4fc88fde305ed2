"""`passport.json`: what was fused, what it cost in quality and what it saves. Written by fusion, read by people."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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


class Energy(_Frozen):
    """Energy of one lobby; an estimate is labelled as one and never mixed with a measurement."""

    source: str = Field(description="rapl | nvml | estimate")
    joules_per_lobby: float


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
