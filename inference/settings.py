"""What an operator may set on a server, with its units, bounds and defaults."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_FOLLOWERS: Final = ("max_batch_rows", "max_queue_rows")
"""Limits that must hold one request at least."""


class Limits(BaseModel):
    """What one request, and all requests together, may ask for. They bound the server's memory and its work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64, description="largest request message")
    max_rows_per_request: int = Field(default=1_024, ge=1, description="players in one request")
    max_sessions_per_request: int = Field(default=262_144, ge=1, description="sessions in all histories of one request")
    max_request_id_bytes: int = Field(default=128, ge=1, description="UTF-8 length of a request id")
    max_metadata_bytes: int = Field(
        default=8 * 1024, ge=1_024, le=1024 * 1024, description="all headers of one call, as HTTP/2 counts them"
    )
    max_calls_per_connection: int = Field(
        default=32, ge=1, le=100_000, description="calls under way on one connection; callers hold back what is more"
    )
    max_batch_rows: int = Field(default=1_024, ge=1, description="players the engine scores in one run")
    max_queue_rows: int = Field(
        default=32_768,
        ge=1,
        description="players that may wait for the engine: of live matches; of the less urgent, fewer",
    )
    max_waiting_requests: int = Field(default=1_024, ge=1, description="accepted calls that may wait for a thread")
    max_wait_seconds: float = Field(
        default=10.0, gt=0, description="deadline of a call whose caller set none, and the cap of those who did"
    )

    @model_validator(mode="before")
    @classmethod
    def _what_is_not_set_follows(cls, data: Any) -> Any:
        """Who allows larger requests allows larger batches, unless told otherwise."""
        if not isinstance(data, dict) or "max_rows_per_request" not in data:
            return data
        followed = dict(data)
        with suppress(TypeError, ValueError):  # no number: the field itself has a better word for it
            rows = int(data["max_rows_per_request"])
            for name in _FOLLOWERS:
                followed.setdefault(name, max(rows, cls.model_fields[name].default))
        return followed

    @model_validator(mode="after")
    def _consistent(self) -> Limits:
        for larger in _FOLLOWERS:
            if self.max_rows_per_request > getattr(self, larger):
                msg = f"max_rows_per_request is {self.max_rows_per_request}, expected at most {larger}"
                msg += f" ({getattr(self, larger)})"
                raise ValueError(msg)
        return self


class TlsSettings(BaseModel):
    """PEM files of TLS on the gRPC port; without a certificate it speaks plain text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_file: Path | None = Field(default=None, description="certificate chain, the server's own first")
    key_file: Path | None = Field(default=None, description="private key of that certificate")
    client_ca_file: Path | None = Field(
        default=None, description="authorities of the clients: who shows no certificate of theirs is not let in (mTLS)"
    )

    @property
    def is_on(self) -> bool:
        """Whether the port speaks TLS."""
        return self.certificate_file is not None

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            missing = "certificate_file" if self.certificate_file is None else "key_file"
            msg = f"{missing} is not set, expected a certificate and its key together"
            raise ValueError(msg)
        if self.client_ca_file is not None and not self.is_on:
            msg = "client_ca_file is set without certificate_file and key_file, expected all three"
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

    host: str = Field(default="127.0.0.1", min_length=1, description="address of gRPC; loopback unless told")
    port: int = Field(default=50_051, ge=0, le=65_535, description="gRPC; 0 takes any free one")
    metrics_host: str = Field(default="127.0.0.1", min_length=1, description="address of /metrics, which has no TLS")
    metrics_port: int = Field(default=9_464, ge=0, le=65_535, description="HTTP /metrics; 0 takes any free one")
    insecure_public: bool = Field(
        default=False, description="allow addresses beyond loopback without TLS: for trusted networks and containers"
    )
    tokens_file: Path | None = Field(
        default=None, description="hashes of the tokens that callers must show; without it nobody is asked for one"
    )
    tls: TlsSettings = TlsSettings()
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        default=1, description="serving processes on the one port; auto: one per core"
    )
    pin_workers: bool = Field(default=False, description="keep each worker on a core of its own")
    reuse_port: bool = Field(default=False, description="share the port with other servers of this user (SO_REUSEPORT)")
    max_connection_age_seconds: float | None = Field(
        default=None, gt=0, description="connections are asked to close after it, so that new servers get their share"
    )
    max_connection_age_grace_seconds: float = Field(
        default=10.0, gt=0, description="time that calls on such a connection have to finish"
    )
    threads: int = Field(default=8, ge=1, le=256, description="threads that handle calls")
    drain_seconds: float = Field(
        default=0.0, ge=0, description="time between NOT_SERVING and the end of accepting, for balancers to notice"
    )
    grace_seconds: float = Field(default=10.0, gt=0, description="time the accepted calls have to finish")
    watts_per_core: float | None = Field(
        default=None, gt=0, description="watts of one busy core, for the estimate where no energy counter is readable"
    )
    allow_repository_control: bool = Field(
        default=False, description="load and unload models over the Open Inference Protocol"
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
    admin_host: str = Field(
        default="127.0.0.1", min_length=1, description="address of ModelAdmin, which has no TLS; only with `models`"
    )
    admin_port: int = Field(default=50_052, ge=0, le=65_535, description="gRPC ModelAdmin; only with `models`")
    canary: CanaryBounds = CanaryBounds()
    max_shadow_rows: int = Field(default=8_192, ge=1, description="players that may wait for the shadow version")

    @model_validator(mode="after")
    def _one_owner(self) -> ServerSettings:
        """One of several workers decides what is served; a call on the port that all share reaches any of them."""
        if self.models is not None and self.workers != 1 and self.allow_repository_control:
            msg = f"workers is {self.workers} and allow_repository_control is set"
            msg += "; expected one worker, or changes over the admin port only"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _transport_can_do_it(self) -> ServerSettings:
        """The native transport knows neither TLS nor an age of connections; grpcio does."""
        if self.transport != "native":
            return self
        for asked, setting in (
            (self.tls.is_on, "tls.certificate_file"),
            (self.max_connection_age_seconds is not None, "max_connection_age_seconds"),
        ):
            if asked:
                msg = f"transport is native, which has no {setting}; expected transport grpcio or auto"
                raise ValueError(msg)
        return self

    @property
    def needs_grpcio(self) -> bool:
        """Whether only the grpcio transport can do what is asked for: `auto` must then choose it."""
        return self.tls.is_on or self.max_connection_age_seconds is not None
