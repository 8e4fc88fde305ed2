"""Windows shared by rows of one player, and batches cut out of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusion.teachers.examples import Examples, Windows
from fusion.telemetry.dataset import Dataset
from inference.contract.features import SEQUENCE_LENGTH


def _examples(dataset: Dataset, windows: Windows) -> Examples:
    return Examples(
        features=torch.from_numpy(windows.rows[:, None].astype(np.float32)),
        targets=torch.zeros(len(windows.rows), 1),
        sequences=torch.from_numpy(dataset.sequences(windows.anchors)),
        window=torch.from_numpy(windows.window),
        place=torch.from_numpy(windows.place),
    )


def test_every_row_finds_its_own_past_in_the_shared_window(dataset: Dataset) -> None:
    rows = np.random.default_rng(0).permutation(len(dataset))[:2000].astype(np.int64)
    windows = Windows.shared(dataset.histories, rows)
    own, shared = dataset.sequences(windows.rows), dataset.sequences(windows.anchors)[windows.window]
    seen = SEQUENCE_LENGTH // 2 + 1
    for back in range(seen):
        step = shared[np.arange(len(rows)), windows.place - back]
        np.testing.assert_array_equal(step, own[:, SEQUENCE_LENGTH - 1 - back])


def test_rows_are_all_there_once_and_share_windows(dataset: Dataset) -> None:
    rows = np.arange(len(dataset), dtype=np.int64)
    windows = Windows.shared(dataset.histories, rows)
    np.testing.assert_array_equal(np.sort(windows.rows), rows)
    np.testing.assert_array_equal(np.unique(windows.window), np.arange(len(windows.anchors)))
    assert np.all(np.diff(windows.window) >= 0)
    assert len(windows.anchors) < len(rows) / 4
    np.testing.assert_array_equal(dataset.player[windows.anchors][windows.window], dataset.player[windows.rows])


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_row_once_with_its_own_window(dataset: Dataset, shuffle: bool) -> None:
    whole = _examples(dataset, Windows.shared(dataset.histories, np.arange(len(dataset), dtype=np.int64)))
    assert whole.sequences is not None
    by_row = {int(row): index for index, row in enumerate(whole.features[:, 0].tolist())}
    seen: list[int] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in whole.batches(256, shuffle=shuffle):
            assert part.sequences is not None
            # Equal weight of every row wants parts of like size: one window more than asked for, at most.
            assert len(part) <= 256 + SEQUENCE_LENGTH // 2
            last = part.sequences[part.window, part.place]
            index = [by_row[int(row)] for row in part.features[:, 0].tolist()]
            torch.testing.assert_close(last, whole.sequences[whole.window[index], whole.place[index]], rtol=0, atol=0)
            seen += index
    assert sorted(seen) == list(range(len(whole)))


def test_shuffled_batches_compute_little_padding(dataset: Dataset) -> None:
    whole = _examples(dataset, Windows.shared(dataset.histories, np.arange(len(dataset), dtype=np.int64)))
    assert whole.sequences is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = sum(
            part.sequences.shape[0] * part.sequences.shape[1]
            for part in whole.batches(256, shuffle=True)
            if part.sequences is not None
        )
    assert steps < 0.7 * whole.sequences.shape[0] * whole.sequences.shape[1]


def test_without_sequences_every_row_stands_alone() -> None:
    windows = Windows.own(np.array([4, 2, 9]))
    whole = Examples(
        torch.tensor([[4.0], [2.0], [9.0]]),
        torch.zeros(3, 1),
        None,
        torch.from_numpy(windows.window),
        torch.from_numpy(windows.place),
    )
    parts = list(whole.batches(2, shuffle=False))
    assert [part.features[:, 0].tolist() for part in parts] == [[4.0, 2.0], [9.0]]
    assert all(part.sequences is None for part in parts)
