"""Reads the YAML files that people write: checked against a model, faults told in one sentence with the nearest key."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Document = TypeVar("Document", bound=BaseModel)


def read(path: Path, model: type[Document], *, fix: str = "") -> Document:
    """Read a YAML file.

    Args:
        path: of the file.
        model: what it describes.
        fix: where the reader finds a whole example.

    Raises:
        FusionError: it cannot be read, is not YAML, or does not describe a `model`.
    """
    return parse(text(path, fix=fix), model, where=str(path), fix=fix)


def text(path: Path, *, fix: str = "") -> str:
    """What is in a file that should be YAML.

    Raises:
        FusionError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FusionError(
            str(path),
            got=f"no readable file ({getattr(error, 'strerror', None) or error})",
            expected="a YAML file",
            fix=fix,
        ) from error


def parse(text: str, model: type[Document], *, where: str, fix: str = "") -> Document:
    """Check YAML text against a model; `where` names the text in errors.

    Raises:
        FusionError: it is not YAML, or does not describe a `model`; an unknown key names the nearest valid one.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FusionError(where, got=f"no YAML: {error}", expected="a YAML mapping", fix=fix) from error
    if not isinstance(document, dict):
        raise FusionError(where, got=type(document).__name__, expected="a YAML mapping of keys to values", fix=fix)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise explain(error, model, where, fix) from error


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the valid name nearest to `name`, or nothing where none is near."""
    lowered = {candidate.lower(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {lowered[close[0]]!r}?" if close else ""


def explain(error: ValidationError, model: type[BaseModel], where: str, fix: str = "") -> FusionError:
    """Turn the fault that explains most into one sentence; `where` names the document, `fix` is for any fault."""
    faults = error.errors(include_url=False)
    # A misspelt key also leaves another one missing: the misspelling is the cause.
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    location = tuple(str(part) for part in fault["loc"])
    field = f"{where}, {'.'.join(location)}" if location else where
    if fault["type"] == "extra_forbidden":
        keys = _keys(model, fault["loc"][:-1])
        return FusionError(
            field,
            got=f"the unknown key {location[-1]!r}{nearest(location[-1], keys)}",
            expected=f"one of {', '.join(keys)}" if keys else "a known key",
            fix=fix,
        )
    if fault["type"] == "missing":
        return FusionError(field, got="nothing", expected=f"the key {location[-1]!r}", fix=fix)
    message = fault["msg"].removeprefix("Value error, ")
    return FusionError(field, got=f"{fault['input']!r:.80}", expected=f"a valid value ({message})", fix=fix)


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are valid at a place inside a document, found by walking the models' fields."""
    models = [model]
    for step in location:
        if isinstance(step, int):
            continue
        fields = {name: field for one in models for name, field in one.model_fields.items()}
        if step in fields:
            models = _models_in(fields[step].annotation)
        else:
            # Where a value may be one of several models, the place names the one that its own key chose.
            models = [one for one in models if any(field.default == step for field in one.model_fields.values())]
    return list(dict.fromkeys(name for one in models for name in one.model_fields))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]
