"""The one teacher there is at use time: an ONNX graph with its card, whatever family it was trained in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import FusionError
from fusion.teachers.session import open_session
from inference.contract.artifact import sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.teachers.teacher import TeacherCard

FEATURES: Final = "features"
SEQUENCES: Final = "sequences"
LINKS: Final = "links"
_CHUNK_ROWS: Final = 16_384


class OnnxTeacher:
    """A `Teacher` run by ONNX Runtime.

    Args:
        model: the ONNX file's bytes.
        card: what they hold.
        threads: of ONNX Runtime; 0 lets it choose.

    Raises:
        FusionError: the bytes are not the ones the card speaks of, or not the graph it describes.
    """

    def __init__(self, model: bytes, card: TeacherCard, *, threads: int = 0) -> None:
        where = f"teacher {card.name}"
        if sha256(model) != card.onnx_sha256:
            raise FusionError(
                where,
                got=f"a model of SHA-256 {sha256(model)}",
                expected=f"{card.onnx_sha256}, as its card says",
                fix="The file is damaged or of another training: copy both files again or train anew.",
            )
        self._session = open_session(model, where, threads=threads)
        self._card = card
        self._model = model
        width = {FEATURES: len(card.features)} if card.features else {}
        inputs = {value.name: value.shape[-1] for value in self._session.get_inputs() if value.name != SEQUENCES}
        sequences = any(value.name == SEQUENCES for value in self._session.get_inputs())
        outputs = {value.name: value.shape[-1] for value in self._session.get_outputs()}
        if (inputs, sequences, outputs) != (width, card.uses_sequences, {LINKS: len(card.behaviours)}):
            raise FusionError(
                where,
                got=f"inputs {inputs}{' and sequences' if sequences else ''}, outputs {outputs}",
                expected=f"inputs {width}{' and sequences' if card.uses_sequences else ''}, "
                f"outputs { {LINKS: len(card.behaviours)} }, as its card says",
            )

    @property
    def card(self) -> TeacherCard:
        """What it is, what it reads and what it predicts."""
        return self._card

    @property
    def model(self) -> bytes:
        """The ONNX file's bytes."""
        return self._model

    def links(self, features: NDArray[np.float32], sequences: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Predict on the link scale; see `fusion.teachers.teacher.Teacher.links`.

        Raises:
            FusionError: the inputs are not those of the card.
        """
        card = self._card
        if features.ndim != 2 or features.shape[1] != len(card.features):
            raise FusionError(
                f"features of teacher {card.name}",
                got=f"shape {features.shape}",
                expected=f"(rows, {len(card.features)})",
            )
        if card.uses_sequences and (sequences is None or len(sequences) != len(features)):
            raise FusionError(
                f"sequences of teacher {card.name}",
                got="none" if sequences is None else f"{len(sequences)} rows",
                expected=f"{len(features)} rows, one per row of features",
            )
        links = np.empty((len(features), len(card.behaviours)), dtype=np.float32)
        for start in range(0, len(features), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            feed: dict[str, NDArray[np.float32]] = {}
            if card.features:
                feed[FEATURES] = np.ascontiguousarray(features[rows], dtype=np.float32)
            if card.uses_sequences and sequences is not None:
                feed[SEQUENCES] = np.ascontiguousarray(sequences[rows], dtype=np.float32)
            links[rows] = self._session.run([LINKS], feed)[0]
        return links
