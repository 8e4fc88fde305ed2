"""What an operator may set on a server, with its units, bounds and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Limits(BaseModel):
    """What one request, and all requests together, may ask for. They bound the server's memory and its work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64, description="largest request message")
    max_rows_per_request: int = Field(default=1_024, ge=1, description="players in one request")
    max_sessions_per_request: int = Field(default=262_144, ge=1, description="sessions in all histories of one request")
    max_request_id_bytes: int = Field(default=128, ge=1, description="UTF-8 length of a request id")
    max_batch_rows: int = Field(default=2_048, ge=1, description="players the engine scores in one run")
    max_queue_rows: int = Field(default=8_192, ge=1, description="players that may wait for the engine")
    max_waiting_requests: int = Field(default=512, ge=1, description="accepted calls that may wait for a thread")
    max_wait_seconds: float = Field(
        default=10.0, gt=0, description="deadline of a call whose caller set none, and the cap of those who did"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Limits:
        for smaller, larger in (("max_rows_per_request", "max_batch_rows"), ("max_rows_per_request", "max_queue_rows")):
            if getattr(self, smaller) > getattr(self, larger):
                msg = f"{smaller} is {getattr(self, smaller)}, expected at most {larger} ({getattr(self, larger)})"
                raise ValueError(msg)
        return self


class CanaryBounds(BaseModel):
    """When a version on trial is taken back by itself: what it may do worse than the live one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_seconds: float = Field(default=60.0, gt=0, description="how far back calls are compared")
    min_calls: int = Field(default=100, ge=1, description="calls in the window before anything is judged")
    max_more_errors: float = Field(
        default=0.01, ge=0, le=1, description="share of calls with priors or no answer in time, above the live one's"
    )
    max_latency_ratio: float = Field(default=2.0, ge=1, description="mean seconds per call, times the live one's")
    latency_slack_seconds: float = Field(
        default=0.005, ge=0, description="added to the bound: what nobody notices is no reason"
    )
    look_every_seconds: float = Field(default=1.0, gt=0, description="how often it is judged")


class ServerSettings(BaseModel):
    """Where the server listens and how it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1, description="loopback unless told otherwise: no TLS here")
    port: int = Field(default=50_051, ge=0, le=65_535, description="gRPC; 0 takes any free one")
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    metrics_port: int = Field(default=9_464, ge=0, le=65_535, description="HTTP /metrics; 0 takes any free one")
    threads: int = Field(default=8, ge=1, le=256, description="threads that handle calls")
    drain_seconds: float = Field(
        default=0.0, ge=0, description="time between NOT_SERVING and the end of accepting, for balancers to notice"
    )
    grace_seconds: float = Field(default=10.0, gt=0, description="time the accepted calls have to finish")
    watts_per_core: float | None = Field(
        default=None, gt=0, description="watts of one busy core, for the estimate where no energy counter is readable"
    )
    limits: Limits = Limits()
    transport: Literal["auto", "native", "grpcio"] = Field(
        default="auto", description="auto: native where it is installed and can do what is wanted, else grpcio"
    )
    max_memory_bytes: int | None = Field(
        default=None,
        ge=512 * 1024 * 1024,
        description="address space of the process; a native transport reads a message before its size can be refused",
    )
    models: Path | None = Field(default=None, description="folder of models/<name>/<version>/; none: one artifact")
    default_model: str = Field(default="", description="answers calls that name no model, where there are several")
    admin_host: str = Field(default="127.0.0.1", min_length=1)
    admin_port: int = Field(default=50_052, ge=0, le=65_535, description="gRPC ModelAdmin; only with `models`")
    canary: CanaryBounds = CanaryBounds()
    max_shadow_rows: int = Field(default=8_192, ge=1, description="players that may wait for the shadow version")
