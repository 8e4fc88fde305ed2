"""Random session sequences of given lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH

if TYPE_CHECKING:
    from numpy.typing import NDArray


def random_sequences(lengths: list[int]) -> NDArray[np.float32]:
    """(rows, T, channels), the newest session last, zeros before the first; channel 0 says what is present."""
    rng = np.random.default_rng(1)
    sequences = np.zeros((len(lengths), SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)), dtype=np.float32)
    for row, length in enumerate(lengths):
        sequences[row, SEQUENCE_LENGTH - length :] = rng.normal(size=(length, len(SEQUENCE_CHANNELS)))
        sequences[row, SEQUENCE_LENGTH - length :, 0] = 1.0
    return sequences
