"""Sessions of ONNX Runtime: what they are told, and what they cannot load."""

from __future__ import annotations

import pytest

from fusion.errors import FusionError
from fusion.teachers.session import open_session
from tests.support.foreign_models import WEIGHTS, linear


@pytest.mark.parametrize("threads", [0, 1])
def test_threads_are_as_many_as_was_said_and_do_not_spin(threads: int) -> None:
    options = open_session(linear(WEIGHTS).SerializeToString(), "m.onnx", threads=threads).get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_what_is_no_graph_is_refused_by_its_name() -> None:
    with pytest.raises(FusionError, match=r"m\.onnx: got .*, expected an ONNX model that ONNX Runtime can load"):
        open_session(b"nothing", "m.onnx")
