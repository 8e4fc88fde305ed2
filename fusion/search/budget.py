"""What a fused network may cost, in quality and in resources: a small YAML file, or a shipped profile."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from fusion import yaml_file
from fusion.errors import FusionError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_DOCS = "docs/search.md shows a whole budget."


class Measured(BaseModel):
    """What is known about one candidate. Quality is judged on the validation players, cost on this machine.

    Attributes:
        mean_change: mean over behaviours of quality minus that of the behaviour's best teacher.
        worst_change: of the behaviour that lost most.
        parameters: numbers stored.
        file_bytes: of the ONNX file.
        cpu_us_per_lobby: CPU microseconds to score a 64-player lobby.
        joules_per_lobby: energy of the same, measured where the machine shows its counters, else estimated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean_change: float
    worst_change: float
    parameters: int
    file_bytes: int
    cpu_us_per_lobby: float
    joules_per_lobby: float


class Budget(BaseModel):
    """`budget.yaml`: what has to hold; what is left out may be anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean_change: float | None = Field(default=None, description="at least; 0 is as good as the best teachers")
    worst_change: float | None = Field(default=None, description="at least, of every single behaviour")
    parameters: int | None = Field(default=None, ge=1, description="at most")
    file_bytes: int | None = Field(default=None, ge=1, description="at most, of the ONNX file")
    cpu_us_per_lobby: float | None = Field(default=None, gt=0, description="at most, on this machine")
    joules_per_lobby: float | None = Field(default=None, gt=0, description="at most, on this machine")
    search_minutes: float = Field(default=8.0, gt=0, description="for trying recipes; the last training comes on top")

    @property
    def costs(self) -> Budget:
        """The same without bounds of quality, which only a network trained to the end can be held to."""
        return self.model_copy(update={"mean_change": None, "worst_change": None})

    def margins(self, found: Measured) -> dict[str, float]:
        """Bound → how far beyond it, at most 0 where it holds: as a share of it, of a hundredth for the qualities."""
        beyond: dict[str, float] = {}
        for name in ("mean_change", "worst_change"):
            if (bound := getattr(self, name)) is not None:
                beyond[name] = (bound - getattr(found, name)) / 0.01
        for name in ("parameters", "file_bytes", "cpu_us_per_lobby", "joules_per_lobby"):
            if (bound := getattr(self, name)) is not None:
                beyond[name] = getattr(found, name) / bound - 1.0
        return beyond

    def excess(self, found: Measured) -> dict[str, float]:
        """The margins of what does not hold."""
        return {name: beyond for name, beyond in self.margins(found).items() if not beyond <= 0.0}

    def told(self, found: Measured) -> str:
        """What does not hold, in a sentence; empty where all does."""
        return "; ".join(
            f"{name} {_figure(getattr(found, name))}, the budget allows {_figure(getattr(self, name))}"
            for name in self.excess(found)
        )


def profiles() -> tuple[str, ...]:
    """Names of the budgets that come with playfuse."""
    return tuple(sorted(Path(entry.name).stem for entry in _folder().iterdir() if entry.name.endswith(".yaml")))


def load_budget(name_or_path: str) -> Budget:
    """A profile by name, or a YAML file.

    Raises:
        FusionError: there is no such profile or file, or it is not a budget.
    """
    if name_or_path in profiles():
        text = (_folder() / f"{name_or_path}.yaml").read_text("utf-8")
        return yaml_file.parse(text, Budget, where=f"profile {name_or_path}", fix=_DOCS)
    if not Path(name_or_path).exists():
        raise FusionError(
            name_or_path,
            got=f"no such file or profile{yaml_file.nearest(name_or_path, profiles())}",
            expected=f"a YAML file, or one of {', '.join(profiles())}",
            fix=_DOCS,
        )
    return yaml_file.read(Path(name_or_path), Budget, fix=_DOCS)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def _folder() -> Traversable:
    return resources.files("fusion.search") / "profiles"
