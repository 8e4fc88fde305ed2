"""Writes the stored results into the documents: `python -m benchmarks.render`.

Every pair of lines `<!-- results:NAME -->` … `<!-- /results -->` in README.md and docs/*.md frames a text that is made
from `benchmarks/results/*.json` alone. `tests/benchmarks/test_render.py` proves that the documents are current.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import serving_tables, tables

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = Path(__file__).resolve().parent / "results"
NOT_MEASURED: Final = "*Not measured yet: run `make bench`.*"
_SECTION: Final = re.compile(r"(?<=<!-- results:)([a-z-]+) -->\n.*?(?=<!-- /results -->)", re.DOTALL)

SECTIONS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], str]]]] = {
    "fusion-summary": ("fusion.json", tables.fusion_summary),
    "fusion": ("fusion.json", tables.fusion),
    "baselines": ("baselines.json", tables.baselines),
    "methods": ("methods.json", tables.methods),
    "search": ("search.json", tables.search),
    "peers-summary": ("peers.json", serving_tables.peers_summary),
    "peers": ("peers.json", serving_tables.peers),
    "serving": ("serving.json", serving_tables.serving),
    "swaps": ("swaps.json", serving_tables.swaps),
    "connections": ("connections.json", serving_tables.connections),
    "soak": ("soak.json", serving_tables.soak),
    "telemetry": ("telemetry.json", tables.telemetry),
}
"""Marker → file of results, and the text made from it."""


def documents(root: Path = ROOT) -> list[Path]:
    """README.md and every page of docs/."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def rendered(text: str, results: Path = RESULTS) -> str:
    """The text of a document with every framed part made anew.

    Raises:
        KeyError: a marker names a section that `SECTIONS` does not have.
    """

    def section(match: re.Match[str]) -> str:
        name = match[1]
        file, table = SECTIONS[name]
        path = results / file
        body = table(json.loads(path.read_text())) if path.is_file() else NOT_MEASURED
        return f"{name} -->\n{body.strip()}\n"

    return _SECTION.sub(section, text)


def main() -> None:
    """Rewrite every document."""
    for path in documents():
        path.write_text(rendered(path.read_text()))


if __name__ == "__main__":
    main()
