"""What `playfuse predict` is given on the command line or in files → the three forms that the client takes."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.client import History
from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

_HISTORY_KEYS = ("start_seconds", "duration_seconds", "coop", "as_of_seconds")


def read_rows(path: Path) -> dict[str, Any]:
    """A table of players as keywords of `Client.predict`: `rows` without names, `features` with.

    CSV: with a header of feature names, or numbers only, in the model's order; an empty cell is a missing value.
    JSON: a list of lists in the model's order, or an object that gives each feature's list; null is a missing value.

    Raises:
        InvalidRequest: the file cannot be read, or is none of these; names the line.
    """
    if path.suffix == ".json":
        return _json_rows(path, _read_json(path))
    try:
        lines = enumerate(csv.reader(io.StringIO(_text(path))), start=1)
        table = [(number, cells) for number, cells in lines if any(cells)]
    except csv.Error as error:
        raise InvalidRequest(str(path), got=f"no CSV ({error})", expected="a CSV file") from error
    if not table:
        raise InvalidRequest(str(path), got="an empty file", expected="one line per player")
    header = table[0][1] if any(_is_name(cell) for cell in table[0][1]) else None
    players = table[1:] if header else table
    width = len(table[0][1])
    rows = []
    for number, cells in players:
        if len(cells) != width:
            raise InvalidRequest(f"{path} line {number}", got=f"{len(cells)} cells", expected=str(width))
        rows.append([_number(cell, f"{path} line {number}") for cell in cells])
    if not rows:
        raise InvalidRequest(str(path), got="a header only", expected="one line per player after it")
    if header is None:
        return {"rows": rows}
    features: dict[str, list[float]] = {}
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        _add(features, name, list(column), f"{path} line {table[0][0]}")
    return {"features": features}


def parse_features(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs of one player.

    Raises:
        InvalidRequest: names the pair that is none.
    """
    features: dict[str, list[float]] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise InvalidRequest("--feature", got=repr(pair), expected="name=value, as in --feature sessions_7d=3")
        _add(features, name, [_number(value, f"--feature {name}")], "--feature")
    return {"features": features}


def parse_history(text: str) -> dict[str, Any]:
    """One player's sessions `START,SECONDS;START,SECONDS`, or a JSON file with a list of histories.

    START is Unix seconds or an ISO date and time; without a zone it is taken as UTC.

    Raises:
        InvalidRequest: names the session or key that is none.
    """
    if text.endswith(".json"):
        return {"histories": _json_histories(Path(text))}
    starts, durations = [], []
    for position, session in enumerate(filter(None, (part.strip() for part in text.split(";")))):
        where = f"--history session {position}"
        start, separator, duration = session.rpartition(",")
        if not separator:
            raise InvalidRequest(where, got=repr(session), expected="START,SECONDS, as in 2026-01-05T18:00,3600")
        starts.append(_moment(start.strip(), where))
        durations.append(_whole(duration.strip(), f"{where} duration"))
    return {"histories": [History(starts, durations)]}


def _json_rows(path: Path, content: object) -> dict[str, Any]:
    named = isinstance(content, dict) and all(isinstance(values, list) for values in content.values())
    listed = isinstance(content, list) and all(isinstance(row, list) for row in content)
    if not content or not (named or listed):
        raise InvalidRequest(
            str(path), got=type(content).__name__, expected="a list of rows, or an object of feature: list of values"
        )

    def numbers(values: list[object], where: str) -> list[float]:
        return [_number("" if value is None else value, f"{where}[{index}]") for index, value in enumerate(values)]

    if isinstance(content, dict):
        return {"features": {name: numbers(values, f"{path} {name}") for name, values in content.items()}}
    assert isinstance(content, list)
    return {"rows": [numbers(row, f"{path} row {index}") for index, row in enumerate(content)]}


def _json_histories(path: Path) -> list[History]:
    content = _read_json(path)
    if not isinstance(content, list) or not content:
        raise InvalidRequest(str(path), got=type(content).__name__, expected="a list of histories, one per player")
    histories = []
    for index, entry in enumerate(content):
        where = f"{path} history {index}"
        if not isinstance(entry, dict) or not {*_HISTORY_KEYS[:2]} <= set(entry) <= set(_HISTORY_KEYS):
            got = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
            raise InvalidRequest(
                where, got=got, expected=f"an object of {', '.join(_HISTORY_KEYS)} (the last two optional)"
            )
        lists = [entry[key] for key in _HISTORY_KEYS[:2]] + [entry.get("coop", [])]
        if not all(isinstance(values, list) and all(isinstance(value, int) for value in values) for values in lists):
            raise InvalidRequest(where, got="other values", expected="lists of whole numbers (coop: of true and false)")
        starts, durations, coop = lists
        histories.append(
            History(starts, durations, coop, _whole(entry.get("as_of_seconds", 0), f"{where} as_of_seconds"))
        )
    return histories


def _add(features: dict[str, list[float]], name: str, values: list[float], where: str) -> None:
    name = name.strip()
    if name in features:
        raise InvalidRequest(where, got=f"{name!r} again", expected="each feature once")
    features[name] = values


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidRequest(str(path), got=error.strerror or str(error), expected="a readable file") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(str(path), got=str(error), expected="a text file in UTF-8") from error


def _read_json(path: Path) -> object:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise InvalidRequest(str(path), got=f"no JSON ({error})", expected="a JSON file") from error


def _is_name(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return True
    return False


def _number(value: object, where: str) -> float:
    if value == "":
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is, float() decides
    except (TypeError, ValueError) as error:
        raise InvalidRequest(where, got=repr(value), expected="a number") from error


def _whole(value: object, where: str) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(where, got=repr(value), expected="whole seconds") from error


def _moment(text: str, where: str) -> int:
    with suppress(ValueError):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{where} start", got=repr(text), expected="Unix seconds or an ISO time such as 2026-01-05T18:00"
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
