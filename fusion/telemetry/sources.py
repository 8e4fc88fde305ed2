"""Where real data lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fusion.telemetry.spec import load_any_spec

DATA_VARIABLE: Final = "PLAYFUSE_DATA"
DEFAULT_DATA_FOLDER: Final = Path("../shared/data")


def data_folder() -> Path:
    """The folder named by `PLAYFUSE_DATA`, else `../shared/data` beside the working directory."""
    return Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA_FOLDER)


def find_log(spec_name: str) -> Path | None:
    """The log or table of a shipped spec, or None where this machine has none.

    Raises:
        FusionError: there is no such spec.
    """
    spec = load_any_spec(spec_name)
    if spec.file is None:
        return None
    path = data_folder() / spec.file
    return path if path.is_file() else None
