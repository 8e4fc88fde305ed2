"""The pure parts of the benchmark beside other servers, and that it cannot leave a process behind or count errors."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from benchmarks.peers import open_inference, processes
from benchmarks.peers.__main__ import OURS, Bench
from benchmarks.peers.calls import Call
from benchmarks.peers.load import Counted, Sent, check, side_by_side, streams
from benchmarks.peers.servers.adapter import Setting
from benchmarks.peers.servers.litserve import LitServe
from benchmarks.peers.servers.mlserver import MLServer
from benchmarks.peers.servers.mosec import Mosec
from benchmarks.peers.servers.triton import config, lay_out
from benchmarks.peers.work import Job, Models
from benchmarks.render import rendered
from inference.contract.errors import PlayfuseError
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
JOB = Job(
    teacher_rows=ROWS,
    links={"churn_7d": np.array([0.5, -1.5], np.float32), "sessions_7d": np.array([2.0, 3.0], np.float32)},
    fused_rows=ROWS,
    predictions=np.zeros((2, 2), np.float32),
)
SAID = """
finished in 2.00s, 6426.50 req/s, 1.55MB/s
requests: 12853 total, 12861 started, 12853 done, 12850 succeeded, 3 failed, 1 errored, 2 timeout
status codes: 12850 2xx, 0 3xx, 0 4xx, 3 5xx
traffic: 3.11MB (3260500) total, 37.73KB (38634) headers (space savings 96.29%), 2.51MB (2634865) data
"""


def test_a_request_is_what_the_protocol_says() -> None:
    # By hand from the protocol's field numbers: model_name 1, inputs 5 (name 1, datatype 2, packed shape 3), raw 7.
    tensor = b"\x0a\x08features\x12\x04FP32\x1a\x02\x02\x02"
    raw = ROWS.tobytes()
    expected = b"\x0a\x08churn_7d" + b"\x2a" + bytes([len(tensor)]) + tensor + b"\x3a" + bytes([len(raw)]) + raw
    assert open_inference.request("churn_7d", ROWS) == expected


@pytest.mark.parametrize("raw", [True, False])
def test_a_reply_is_read_from_raw_and_from_typed_contents(raw: bool) -> None:
    values = np.array([0.5, -1.5], "<f4").tobytes()
    contents = b"" if raw else b"\x2a\x0a\x32\x08" + values
    tensor = b"\x0a\x05links\x12\x04FP32\x1a\x02\x02\x01" + contents
    reply = b"\x0a\x01m\x1a\x04some" + b"\x2a" + bytes([len(tensor)]) + tensor + (b"\x32\x08" + values if raw else b"")
    np.testing.assert_array_equal(open_inference.output(reply), [[0.5], [-1.5]])


def test_every_peer_is_asked_for_every_behaviour() -> None:
    assert [call.path for call in Mosec().calls(JOB)] == ["/churn_7d", "/sessions_7d"]
    assert [call.message for call in Mosec().calls(JOB)] == [ROWS.tobytes()] * 2
    named = [call.message[2:10] for call in MLServer().calls(JOB)]
    assert named == [b"churn_7d", b"sessions"]
    np.testing.assert_array_equal(MLServer().expected(JOB)[1], [2.0, 3.0])


def test_litserve_is_sent_base64_and_read_back() -> None:
    body = json.loads(LitServe().calls(JOB)[0].body)
    assert body == {"rows": "AACAPwAAAEAAAEBAAACAwA=="}
    np.testing.assert_array_equal(LitServe().read(b'{"links": "AACAPwAAAEA="}'), [1.0, 2.0])


def test_bytes_on_the_wire() -> None:
    assert Call("/a", b"abc").body == b"\0\0\0\0\3abc"
    assert Call("/a", b"abc", grpc=False).body == b"abc"
    assert (Call("/a", b"").reply_bytes(b"1234"), Call("/a", b"", grpc=False).reply_bytes(b"1234")) == (9, 4)


def test_batching_is_told_to_triton() -> None:
    assert "max_queue_delay_microseconds: 1000" in config("churn_7d", Setting(batch=64, wait_ms=1))
    assert "dynamic_batching" not in config("churn_7d", Setting())


def test_a_model_of_triton_needs_its_own_folder_alone(tmp_path: Path) -> None:
    model = tmp_path / "churn_7d.onnx"
    model.write_bytes(b"onnx")
    lay_out(tmp_path / "churn_7d", model, Setting())
    assert (tmp_path / "churn_7d" / "config.pbtxt").read_text() == config("churn_7d", Setting())
    files = {file.name: file for file in (tmp_path / "churn_7d" / "1").iterdir()}
    assert files["model.onnx"].read_bytes() == b"onnx"
    imported = re.findall(r"^from (\S+) import", files["model.py"].read_text(), re.MULTILINE)
    assert "teacher" in imported
    assert {f"{name}.py" for name in imported} - files.keys() == {"__future__.py", "typing.py"}


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (Call("/a", b""), "-c 2 -m 32"),
        (Call("/a", b"", grpc=False), "-c 2 -m 32"),
        (Call("/a", b"", grpc=False, http2=False), "--h1 -c 64"),
    ],
)
def test_as_many_requests_are_under_way_over_any_protocol(call: Call, options: str) -> None:
    assert streams(call, 64, 2) == options.split()


def test_mosec_gets_lobbies_over_http1_and_single_players_over_http2() -> None:
    single = dataclasses.replace(JOB, teacher_rows=ROWS[:1])
    assert [{call.http2 for call in Mosec().calls(job)} for job in (JOB, single)] == [{False}, {True}]


def test_the_load_is_as_long_as_asked() -> None:
    assert Sent(jobs=100, seconds=0.5, client_busy=0.1).jobs_in(3) == 600


@pytest.mark.process
def test_a_load_that_does_not_end_is_a_fault_and_is_stopped(tmp_path: Path) -> None:
    mine = psutil.Process()
    known = set(mine.children())
    endless = [sys.executable, "-c", "import signal; signal.pause()"]
    with pytest.raises(PlayfuseError, match=r"all within 0\.1 s"):
        side_by_side([[sys.executable, "-c", ""], endless, endless], limit_seconds=0.1)
    assert set(mine.children()) == known


@pytest.mark.process
def test_loads_run_side_by_side_and_all_are_heard() -> None:
    said = side_by_side([[sys.executable, "-c", f"print({number})"] for number in range(3)])
    assert said == ["0\n", "1\n", "2\n"]


class _Unavailable(Mosec):
    """A peer whose packages cannot be had."""

    name = "unavailable"

    def prepare(self, cache: Path) -> None:
        """Fails as pip does."""
        raise PlayfuseError("environment of unavailable", got="no route", expected="packages from PyPI")


def test_a_peer_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    bench = Bench(Models(tmp_path), {}, tmp_path)
    bench.prepare([OURS, _Unavailable(), OURS])
    assert bench.failed == {"unavailable": "environment of unavailable: got no route, expected packages from PyPI."}
    assert bench.adapters == (OURS, OURS)


def test_counts_are_read() -> None:
    assert Counted.parse(SAID) == Counted(seconds=2.0, succeeded=12_850, failed=6, data_bytes=2_634_865)
    assert Counted.parse(SAID.replace("2.00s", "426.17ms")).seconds == pytest.approx(0.42617)
    with pytest.raises(PlayfuseError, match="its counts"):
        Counted.parse("Segmentation fault")


@pytest.mark.parametrize(
    ("counted", "fine"),
    [
        (Counted(1.0, 100, 0, 2_000), True),
        (Counted(1.0, 100, 0, 1_980), False),  # a gRPC error has no body
        (Counted(1.0, 99, 1, 2_000), False),
        (Counted(1.0, 99, 0, 1_980), False),
        (Counted(1.0, 0, 0, 0), False),
    ],
)
def test_only_answers_count(counted: Counted, fine: bool) -> None:
    if fine:
        check("/a", counted, 100, 20)
    else:
        with pytest.raises(PlayfuseError, match="load on /a"):
            check("/a", counted, 100, 20)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(address: str, expected: bool) -> None:
    assert processes.is_loopback(address) is expected


BUSY = """
import signal, time
signal.signal(15, signal.SIG_IGN)
while time.process_time() < 0.1:
    pass
print("up", flush=True)
signal.pause()
"""
PARENT = """
import socket, subprocess, sys, time
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
while time.process_time() < 0.1:
    pass
subprocess.Popen([sys.executable, "-c", sys.argv[2]]).wait()
"""


@pytest.mark.process
def test_all_processes_are_confined_counted_and_stopped(tmp_path: Path) -> None:
    port = processes.free_port()
    core = min(psutil.Process().cpu_affinity())
    server = processes.start([sys.executable, "-c", PARENT, str(port), BUSY], port, tmp_path / "log", core=core)
    try:
        assert until(lambda: server.log.read_text() == "up\n" and len(server.tree()) == 2, seconds=30)
        assert server.lives()
        server.check_confined(core)
        with pytest.raises(PlayfuseError, match="expected core"):
            server.check_confined(core + 1)
        assert server.cpu_seconds() >= 0.15  # 0.1 each: both count; the kernel counts in ticks of 0.01
        assert server.resident_bytes() > 2**20
        known = server.tree()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
    finally:
        server.stop()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in known)
    assert not server.lives()


def test_the_table_quotes_the_figures(tmp_path: Path) -> None:
    ours = {
        "title": "playfuse",
        "setting": "as it comes",
        "jobs_per_second": 12_345.0,
        "cpu_us_per_job": 81.0,
        "resident_mib": 100.0,
        "playfuse_jobs_ratio": 1.0,
        "playfuse_cpu_ratio": 1.0,
    }
    other = ours | {"title": "other", "jobs_per_second": 100.0, "playfuse_jobs_ratio": 123.45, "playfuse_cpu_ratio": 99}
    stored: dict[str, Any] = {
        "machine": "two cores",
        "repeats": 3,
        "teachers_bytes": {str(number): 1 for number in range(8)},
        "cases": {"lobbies": {"players": 64, "jobs_under_way": 16, "servers": {"playfuse": ours, "other": other}}},
    }
    (tmp_path / "peers.json").write_text(json.dumps(stored))
    text = rendered("<!-- results:peers -->\n<!-- /results -->", tmp_path)
    assert "### Lobbies, 16 jobs under way" in text
    assert "| playfuse | as it comes | 12,345 | 6,320,640 | 81 | 100 | **1.0** / 1.0 |" in text
    assert "| other | as it comes | 100 | 51,200 | 81 | 100 | **123.5** / 99.0 |" in text
