from __future__ import annotations

import socket
from pathlib import Path

from inference.contract.errors import PlayfuseError
from inference.repository.canary import Verdict
from inference.repository.state import ModelServing, Serving, Share
from inference.settings import ServerSettings
from inference.supervision.messages import (
    AnyMessage,
    Fault,
    Follow,
    Inbox,
    Job,
    Last,
    Own,
    Ready,
    Released,
    TakeBack,
    send,
)


def test_messages_arrive_whole_and_as_they_were_however_they_are_cut() -> None:
    settings = ServerSettings.model_validate(
        {"tls": {"certificate_file": "a", "key_file": "b"}, "limits": {"max_batch_rows": 4_000}}
    )
    error = PlayfuseError("here", got="this\nand that", expected="something else", fix="Do so.")
    serving = Serving(models={"net": ModelServing(live="2", reads=3, canary=Share(version="3", percent=12.5))})
    messages: list[AnyMessage] = [
        Job(number=3, artifact=Path("/artifact"), settings=settings, core=1),
        Ready(metrics_url="http://127.0.0.1:1/metrics", lines={"gRPC": "127.0.0.1:2"}),
        Job(number=0, artifact=None, settings=settings, serving=serving),
        Fault.of(error),
        Own(),
        Follow(serving=serving),
        TakeBack(model="net", version="3", verdict=Verdict("errors", "too many")),
        Released(),
        Last(metrics="calls_total 1\n" * 20_000),
    ]
    ours, its = socket.socketpair()
    with ours, its:
        inbox = Inbox(ours)
        received: list[object] = []
        for message in messages[:-1]:
            send(its, message)
        content = messages[-1].model_dump_json().encode() + b"\n"
        for begin in range(0, len(content), 50_000):
            its.sendall(content[begin : begin + 50_000])
            received += inbox.receive()
        its.close()
        while not inbox.is_closed:
            received += inbox.receive()
    assert received == messages
    assert str(Fault.of(error).error()) == str(error)
