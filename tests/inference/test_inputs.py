from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from inference import inputs
from inference.client import History
from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_csv_with_a_header_gives_features_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "sessions_7d, recency_hours\n3,0.5\n\n4,\n")
    features = inputs.read_rows(path)["features"]
    assert features["sessions_7d"] == [3.0, 4.0]
    assert features["recency_hours"][0] == 0.5
    assert math.isnan(features["recency_hours"][1])


def test_csv_of_numbers_gives_rows(tmp_path: Path) -> None:
    assert inputs.read_rows(written(tmp_path, "a.csv", "1,2\n3,4\n")) == {"rows": [[1.0, 2.0], [3.0, 4.0]]}


def test_json_gives_rows_or_features(tmp_path: Path) -> None:
    assert inputs.read_rows(written(tmp_path, "a.json", "[[1, 2.5]]")) == {"rows": [[1.0, 2.5]]}
    features = inputs.read_rows(written(tmp_path, "b.json", '{"sessions_7d": [1, null]}'))["features"]
    assert features["sessions_7d"][0] == 1.0
    assert math.isnan(features["sessions_7d"][1])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "got an empty file, expected one line per player"),
        ("a.csv", "sessions_7d\n", "got a header only"),
        ("a.csv", "1,2\n3\n", "line 2: got 1 cells, expected 2"),
        ("a.csv", "sessions_7d\nmany\n", "line 2: got 'many', expected a number"),
        ("a.csv", "\nsessions_7d, sessions_7d\n1,2\n", "line 2: got 'sessions_7d' again, expected each feature once"),
        ("a.csv", "1" * 200_000, "got no CSV"),
        ("a.json", "{", "got no JSON"),
        ("a.json", "[]", "expected a list of rows, or an object of feature: list of values"),
        ("a.json", "[1, 2]", "expected a list of rows"),
        ("a.json", '[["x"]]', r"row 0\[0\]: got 'x', expected a number"),
        ("a.json", '{"sessions_7d": [[]]}', r"sessions_7d\[0\]: got \[\], expected a number"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        inputs.read_rows(written(tmp_path, name, text))


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_a_file_in_another_encoding_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("größe\n1\n".encode("latin-1"))
    with pytest.raises(InvalidRequest, match="expected a text file in UTF-8"):
        inputs.read_rows(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nowhere.csv: got No such file"):
        inputs.read_rows(tmp_path / "nowhere.csv")


def test_features_of_one_player() -> None:
    assert inputs.parse_features(["a=1", "b = 2.5"]) == {"features": {"a": [1.0], "b": [2.5]}}
    with pytest.raises(InvalidRequest, match="got 'a', expected name=value"):
        inputs.parse_features(["a"])
    with pytest.raises(InvalidRequest, match="--feature a: got 'x', expected a number"):
        inputs.parse_features(["a=x"])
    with pytest.raises(InvalidRequest, match="--feature: got 'a' again, expected each feature once"):
        inputs.parse_features(["a=1", "a =2"])


def test_sessions_in_unix_seconds_or_as_dates() -> None:
    expected = {"histories": [History([1_767_636_000, 1_767_636_000], [3_600, 60])]}
    assert inputs.parse_history("2026-01-05T18:00,3600; 1767636000,60;") == expected
    assert inputs.parse_history("2026-01-05T19:00+01:00,3600;1767636000,60") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3600", "session 0: got '3600', expected START,SECONDS"),
        ("1,60;yesterday,60", "session 1 start: got 'yesterday', expected Unix seconds or an ISO time"),
        ("1,long", "session 0 duration: got 'long', expected whole seconds"),
        ("--3,60", "session 0 start: got '--3', expected Unix seconds or an ISO time"),
        ("²,60", "session 0 start: got '²', expected Unix seconds or an ISO time"),
    ],
)
def test_what_is_wrong_in_a_history_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        inputs.parse_history(text)


def test_histories_from_a_file(tmp_path: Path) -> None:
    content = [
        {"start_seconds": [1], "duration_seconds": [60], "coop": [True], "as_of_seconds": 100},
        {"start_seconds": [2], "duration_seconds": [60]},
    ]
    path = written(tmp_path, "h.json", json.dumps(content))
    assert inputs.parse_history(str(path)) == {"histories": [History([1], [60], [True], 100), History([2], [60], [])]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "got dict, expected a list of histories"),
        ("[1]", "history 0: got int, expected an object of start_seconds, duration_seconds"),
        ('[{"start_seconds": [1]}]', "history 0: got .*'start_seconds'.* expected an object of"),
        ('[{"start_seconds": [1], "duration_seconds": [60], "cop": []}]', "history 0: got .*cop"),
        ('[{"start_seconds": ["1"], "duration_seconds": [60]}]', "expected lists of whole numbers"),
        ('[{"start_seconds": [1], "duration_seconds": [60], "as_of_seconds": "x"}]', "as_of_seconds: got 'x'"),
        ('[{"start_seconds": [1], "duration_seconds": [60], "as_of_seconds": 1e999}]', "as_of_seconds: got inf"),
    ],
)
def test_what_is_wrong_in_a_file_of_histories_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        inputs.parse_history(str(written(tmp_path, "h.json", text)))
