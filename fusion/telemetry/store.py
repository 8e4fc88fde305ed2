"""Datasets on disk: arrays as safetensors, the rest as JSON; a folder appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fusion.errors import FusionError
from inference.contract import folder as folders
from inference.contract.artifact import sha256
from inference.contract.features import FEATURE_VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS_FILE: Final = "dataset.safetensors"
ABOUT_FILE: Final = "dataset.json"

_REBUILD = "Build it again with `playfuse data`."


class StoreError(FusionError):
    """A dataset folder that cannot be written or read."""


def write(folder: Path, arrays: dict[str, NDArray[np.generic]], about: dict[str, Any]) -> None:
    """Write arrays and what is to be known about them.

    Raises:
        StoreError: `folder` holds something that is no dataset, or cannot be written.
    """
    packed = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    document = about | {"feature_version": FEATURE_VERSION, "arrays_sha256": sha256(packed)}
    contents = {ARRAYS_FILE: packed, ABOUT_FILE: (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()}
    folders.write(folder, contents, marker=ABOUT_FILE, what="a dataset", error=StoreError)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write` wrote: arrays by name, and what is known about them.

    Raises:
        StoreError: there is no dataset, it is damaged, or its features are of another version.
    """
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT_FILE).read_bytes())
        packed, version = (folder / ARRAYS_FILE).read_bytes(), about["feature_version"]
        if sha256(packed) != about["arrays_sha256"]:
            raise StoreError(
                str(folder / ARRAYS_FILE),
                got=f"SHA-256 {sha256(packed)}",
                expected=str(about["arrays_sha256"]),
                fix=f"The file is damaged. {_REBUILD}",
            )
        arrays = load(packed)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise damaged(folder, error) from error
    if version != FEATURE_VERSION:
        raise StoreError(
            str(folder),
            got=f"features of version {version}",
            expected=f"version {FEATURE_VERSION}, which this playfuse computes",
            fix=_REBUILD,
        )
    return arrays, about


def damaged(folder: Path, error: Exception) -> StoreError:
    """What to tell of a folder that does not hold what a dataset of this version does."""
    return StoreError(str(folder), got=f"{type(error).__name__}: {error}", expected="a dataset folder", fix=_REBUILD)
