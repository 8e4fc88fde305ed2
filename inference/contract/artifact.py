"""The artifact: the directory that fusion writes and the server reads, and the checks between the two.

    model.onnx      the whole graph: imputation, scaling, network, output activations; one output (rows, behaviours)
    manifest.json   this module's `Manifest`: names, hashes of the other files, a probe with its expected outputs
    passport.json   quality, size, latency and energy before and after (`inference.contract.passport`)
    report.html     the passport as a page for people; may be left out

Hashes prove that a file is the one that was written (integrity); they do not prove who wrote it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.contract import folder
from inference.contract.behaviours import Behaviour, Identifier
from inference.contract.errors import ArtifactError
from inference.contract.features import FEATURE_NAMES, FEATURE_VERSION
from inference.contract.passport import Passport

SCHEMA_VERSION: Final = 1
MODEL_FILE: Final = "model.onnx"
MANIFEST_FILE: Final = "manifest.json"
PASSPORT_FILE: Final = "passport.json"
REPORT_FILE: Final = "report.html"
PARITY_TOLERANCE: Final = 1e-4
"""Largest |expected - served| / max(1, |expected|) over the probe: absolute on probabilities, relative on amounts."""

_REBUILD = "Copy the artifact again or rebuild it with `playfuse fuse`."
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Probe(BaseModel):
    """A few input rows and what the network answered to them when it was built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[tuple[float | None, ...], ...] = Field(description="(rows, features); null is a missing value")
    expected: tuple[tuple[float, ...], ...] = Field(description="(rows, behaviours), on the served scale")

    def inputs(self) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """(rows, features) float32, NaN where missing."""
        return np.array([[np.nan if x is None else x for x in row] for row in self.rows], dtype=np.float32)

    def error(self, outputs: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
        """Largest deviation of `outputs` (rows, behaviours) from what was expected; infinite where not finite."""
        expected = np.array(self.expected, dtype=np.float64)
        if outputs.shape != expected.shape or not np.isfinite(outputs).all():
            return float("inf")
        return float((np.abs(outputs - expected) / np.maximum(1.0, np.abs(expected))).max())


class Manifest(BaseModel):
    """`manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: Identifier
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    playfuse_version: str
    feature_version: int = Field(description="`inference.contract.features.FEATURE_VERSION` at build time")
    features: tuple[Identifier, ...] = Field(min_length=1, description="columns of the model's input, in order")
    behaviours: tuple[Behaviour, ...] = Field(min_length=1, description="columns of the model's output, in order")
    priors: dict[str, float] = Field(description="behaviour → its mean over the training players, served scale")
    synthetic: bool = Field(description="trained on simulated players, or on rows drawn from statistics")
    probe: Probe
    files_sha256: dict[str, Sha256]
    manifest_sha256: str = Field(default="", description="of this file's bytes with this field empty")

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [behaviour.name for behaviour in self.behaviours]
        for label, values in (("features", list(self.features)), ("behaviours", names)):
            twice = sorted({name for name in values if values.count(name) > 1})
            if twice:
                msg = f"{label}: listed twice: {', '.join(twice)}"
                raise ValueError(msg)
        if set(self.priors) != set(names):
            msg = f"priors: got {sorted(self.priors)}, expected one per behaviour: {sorted(names)}"
            raise ValueError(msg)
        rows, answers = self.probe.rows, self.probe.expected
        if {*map(len, rows)} - {len(self.features)} or {*map(len, answers)} - {len(names)}:
            msg = f"probe: expected rows of {len(self.features)} features and {len(names)} behaviours"
            raise ValueError(msg)
        if not rows or len(rows) != len(answers):
            msg = f"probe: got {len(rows)} rows and {len(answers)} answers, expected as many, at least one"
            raise ValueError(msg)
        return self

    @property
    def own_features(self) -> tuple[str, ...]:
        """Features that nobody can compute from sessions; a model that has some is never asked with raw histories."""
        return tuple(name for name in self.features if name not in FEATURE_NAMES)

    @property
    def behaviour_names(self) -> tuple[str, ...]:
        """Names of the output columns, in order."""
        return tuple(behaviour.name for behaviour in self.behaviours)

    def sealed(self) -> Manifest:
        """Return the same manifest with its own hash filled in."""
        return self.model_copy(update={"manifest_sha256": self._own_sha256()})

    def to_bytes(self) -> bytes:
        """The one and only spelling of this manifest on disk, so that any changed byte shows."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    def _own_sha256(self) -> str:
        return sha256(self.model_copy(update={"manifest_sha256": ""}).to_bytes())

    @property
    def has_report(self) -> bool:
        """Whether the artifact has a page for people."""
        return REPORT_FILE in self.files_sha256

    @property
    def is_sealed(self) -> bool:
        """Whether the hash it carries is its own."""
        return self.manifest_sha256 == self._own_sha256()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact in memory: what was hashed is what is used, whatever happens to the files later."""

    path: Path
    manifest: Manifest
    model: bytes
    passport: Passport


def sha256(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def write(path: Path, *, manifest: Manifest, model: bytes, passport: Passport, report: bytes | None = None) -> Manifest:
    """Write an artifact, whole or not at all; one that is already at `path` is replaced.

    Args:
        path: of the folder.
        manifest: without hashes.
        model: content of `model.onnx`.
        passport: becomes `passport.json`.
        report: content of `report.html`; without it there is no such file.

    Returns:
        The manifest as written: file hashes and its own hash filled in.

    Raises:
        ArtifactError: `path` holds something that is not an artifact, or cannot be written (a full disk, say).
    """
    contents = {
        MODEL_FILE: model,
        PASSPORT_FILE: (json.dumps(passport.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode(),
    }
    if report is not None:
        contents[REPORT_FILE] = report
    hashes = {name: sha256(content) for name, content in contents.items()}
    sealed = manifest.model_copy(update={"files_sha256": hashes}).sealed()
    contents[MANIFEST_FILE] = sealed.to_bytes()
    folder.write(path, contents, marker=MANIFEST_FILE, what="an artifact", error=ArtifactError)
    return sealed


def check_target(path: Path) -> None:
    """Refuse, before hours of work, a path where no artifact can be written.

    Raises:
        ArtifactError: `path` holds something that is not an artifact.
    """
    folder.check_replaceable(path, marker=MANIFEST_FILE, what="an artifact", error=ArtifactError)


def read(path: Path) -> Artifact:
    """Read an artifact and verify every byte of it. The parity check needs an engine and comes after this.

    Raises:
        ArtifactError: a file is missing or damaged, or the schema or feature version is another one.
    """
    if not path.is_dir():
        raise ArtifactError(
            str(path),
            got="no such folder",
            expected="an artifact folder",
            fix="Build one with `playfuse fuse`.",
        )
    manifest = _read_manifest(path / MANIFEST_FILE)
    contents: dict[str, bytes] = {}
    for name in (MODEL_FILE, PASSPORT_FILE, *[REPORT_FILE] * manifest.has_report):
        expected = manifest.files_sha256.get(name)
        content = _read_bytes(path / name)
        if expected is None or sha256(content) != expected:
            raise ArtifactError(
                str(path / name),
                got=f"SHA-256 {sha256(content)}",
                expected=f"{expected}, as the manifest says",
                fix=f"The file is damaged. {_REBUILD}",
            )
        contents[name] = content
    try:
        passport = Passport.model_validate_json(contents[PASSPORT_FILE])
    except ValidationError as error:
        raise ArtifactError(
            str(path / PASSPORT_FILE), got=_first_fault(error), expected="a passport", fix=_REBUILD
        ) from error
    return Artifact(path=path, manifest=manifest, model=contents[MODEL_FILE], passport=passport)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            str(path), got=error.strerror or str(error), expected="a readable file", fix=_REBUILD
        ) from error


def _read_manifest(path: Path) -> Manifest:
    content = _read_bytes(path)
    try:
        fields = json.loads(content)
        version = fields.get("schema_version") if isinstance(fields, dict) else None
    except ValueError as error:
        raise ArtifactError(
            str(path), got=f"no JSON ({error})", expected="a manifest", fix=f"The file is damaged. {_REBUILD}"
        ) from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            str(path),
            got=f"schema version {version}",
            expected=f"schema version {SCHEMA_VERSION}",
            fix="Rebuild the artifact with this version of playfuse.",
        )
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactError(str(path), got=_first_fault(error), expected="a valid manifest", fix=_REBUILD) from error
    if not manifest.is_sealed or manifest.to_bytes() != content:
        raise ArtifactError(
            str(path),
            got="bytes that do not match the manifest's own SHA-256",
            expected=f"SHA-256 {manifest.manifest_sha256}",
            fix=f"The file was changed after it was written. {_REBUILD}",
        )
    if manifest.feature_version != FEATURE_VERSION:
        raise ArtifactError(
            str(path),
            got=f"feature version {manifest.feature_version}",
            expected=f"feature version {FEATURE_VERSION}",
            fix="Its features are computed differently here: rebuild it with this version of playfuse.",
        )
    return manifest


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
