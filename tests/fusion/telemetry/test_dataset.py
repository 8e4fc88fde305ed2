from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fusion.telemetry import labels
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.log import SessionLog, read_log
from fusion.telemetry.simulate import simulate
from fusion.telemetry.spec import load_spec
from fusion.telemetry.store import ABOUT_FILE, ARRAYS_FILE, StoreError
from inference.contract.features import FEATURE_NAMES, compute_sequences


@pytest.fixture(scope="module")
def log() -> SessionLog:
    return simulate(300, seed=5)


@pytest.fixture(scope="module")
def dataset(log: SessionLog) -> Dataset:
    return build(log)


def assert_same(one: Dataset, other: Dataset) -> None:
    for field in fields(Dataset):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "recorded":
            for name in ("begin", "end", "as_of_seconds"):
                assert np.array_equal(getattr(a, name), getattr(b, name)), name
            for name in ("start_seconds", "duration_seconds", "coop"):
                assert np.array_equal(getattr(a.sessions, name), getattr(b.sessions, name)), name
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes(), field.name
        else:
            assert a == b, field.name


def test_one_row_per_session(dataset: Dataset, log: SessionLog) -> None:
    assert len(dataset) == len(log.sessions)
    assert dataset.features.shape == (len(dataset), len(FEATURE_NAMES))
    assert dataset.feature_names == FEATURE_NAMES
    assert dataset.labels.shape == (len(dataset), len(dataset.behaviours))
    assert np.array_equal(dataset.histories.as_of_seconds, log.sessions.end_seconds)
    assert dataset.synthetic
    assert dataset.censored == {
        behaviour.name: int(np.isnan(dataset.labels[:, column]).sum())
        for column, behaviour in enumerate(dataset.behaviours)
    }
    assert len(labels.behaviours(log)) == 9


def test_the_split_goes_by_the_players_hash_and_never_by_row(dataset: Dataset, log: SessionLog) -> None:
    for row in range(0, len(dataset), 50):
        first, second = hashlib.md5(log.player_ids[dataset.player[row]].encode()).digest()[:2]
        expected = Split.TEST if first < 51 else Split.VALIDATION if first < 76 else Split.TRAIN
        assert dataset.split[row] == expected
        assert dataset.fold[row] == second % 2
    players = [set(dataset.player[dataset.rows(split)].tolist()) for split in Split]
    assert sum(len(some) for some in players) == len(set.union(*players)) == 300
    assert all(players)
    assert np.array_equal(np.sort(np.concatenate([dataset.rows(split) for split in Split])), np.arange(len(dataset)))


def test_another_split_draws_other_players_and_nothing_else(dataset: Dataset, log: SessionLog) -> None:
    other = build(log, split=3)
    first = np.array([hashlib.md5(log.player_ids[player].encode()).digest()[6] for player in other.player])
    np.testing.assert_array_equal(other.split == Split.TEST, first < 51)
    assert np.mean(dataset.split[other.rows(Split.TEST)] == Split.TEST) < 0.5
    np.testing.assert_array_equal(other.features, dataset.features)


def test_sequences_and_subset_are_of_the_rows_asked_for(dataset: Dataset) -> None:
    rows = dataset.rows(Split.TEST)[::-3].copy()
    sequences = dataset.sequences(rows)
    assert np.array_equal(sequences, compute_sequences(dataset.histories)[rows])
    part = dataset.subset(rows)
    assert len(part) == len(rows)
    assert np.array_equal(part.features, dataset.features[rows], equal_nan=True)
    assert np.array_equal(part.sequences(np.arange(len(rows))), sequences)
    assert set(part.split) == {Split.TEST}
    assert part.censored["churn_14d"] == np.isnan(part.labels[:, 1]).sum()


def test_what_is_saved_is_what_is_loaded(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    dataset.save(folder)
    assert_same(Dataset.load(folder), dataset)
    part = dataset.subset(dataset.rows(Split.TRAIN))
    part.save(folder)
    assert_same(Dataset.load(folder), part)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["data"]


def test_a_folder_of_something_else_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="nothing was written"):
        dataset.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_told(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="nothing half-written was left"):
        dataset.save(tmp_path / "file" / "data")


def break_arrays(folder: Path) -> None:
    content = bytearray((folder / ARRAYS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / ARRAYS_FILE).write_bytes(content)


def told(before: str, after: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        about = (folder / ABOUT_FILE).read_text()
        assert before in about
        (folder / ABOUT_FILE).write_text(about.replace(before, after))

    return change


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (break_arrays, "damaged"),
        (told('"feature_version": 1', '"feature_version": 0'), "features of version 0"),
        (told('"feature_version"', '"version"'), "KeyError: 'feature_version'"),
        (told('"censored"', '"hidden"'), "KeyError: 'censored'"),
        (told('"duplicate"', '"twice"'), "TypeError"),
        (told('"binary"', '"flag"'), "ValidationError"),
        (lambda folder: (folder / ABOUT_FILE).unlink(), "FileNotFoundError"),
        (lambda folder: (folder / ABOUT_FILE).write_text("{}"), "KeyError"),
        (lambda folder: (folder / ABOUT_FILE).write_text("[]"), "TypeError"),
        (lambda folder: (folder / ABOUT_FILE).write_text("{"), "JSONDecodeError"),
    ],
)
def test_a_damaged_dataset_is_refused(
    dataset: Dataset, tmp_path: Path, damage: Callable[[Path], object], expected: str
) -> None:
    folder = tmp_path / "data"
    dataset.save(folder)
    damage(folder)
    with pytest.raises(StoreError, match=expected):
        Dataset.load(folder)


KEPT = {"gran_turismo_sport": 357_677, "outriders": 142_142, "forza_horizon_4": 39_191}
DROPPED = {
    "gran_turismo_sport": {"duplicate": 593, "over_10_hours": 1_774},
    "outriders": {"duplicate": 0, "over_10_hours": 7_518},
    "forza_horizon_4": {"non_positive_duration": 8_594, "over_10_hours": 95},
}


@pytest.mark.data
@pytest.mark.parametrize("name", KEPT)
def test_real_logs_read_as_their_authors_say(name: str, real_log: Callable[[str], Path]) -> None:
    dataset = build(read_log(real_log(name), load_spec(name)))
    assert len(dataset) == dataset.cleaning.kept == KEPT[name]
    assert DROPPED[name].items() <= dataset.cleaning.dropped.items()
    assert not dataset.synthetic
    assert "CC BY 4.0" in dataset.notice
    assert len(dataset.behaviours) == (9 if name == "outriders" else 8)
    shares = np.bincount(dataset.split) / len(dataset)
    assert shares == pytest.approx([0.70, 0.10, 0.20], abs=0.04)
