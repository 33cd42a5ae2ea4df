"""The head that is written without uvicorn's `send` is the one that uvicorn would have written."""

from __future__ import annotations

from asyncio import Event
from logging import getLogger

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from everytoken.gateway.server import Direct

PLAIN = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-request-id", b"req\t1"),
    (b"x-latin", b"\xe9"),
]


class Transport:
    """Keeps what is written."""

    def __init__(self):
        self.written = b""

    def write(self, data):
        self.written += data

    def close(self):
        pass


def cycle(method="POST", **changes):
    """A request that waits for its answer, and what its connection is given."""
    logger, transport = getLogger(__name__), Transport()
    made = RequestResponseCycle(
        scope={"type": "http", "method": method, "http_version": "1.1", "headers": [], "path": "/"},
        transport=transport,
        flow=FlowControl(transport),
        logger=logger,
        access_logger=logger,
        access_log=False,
        default_headers=[(b"date", b"Sun, 29 Nov 2026 10:00:00 GMT")],
        message_event=Event(),
        expect_100_continue=True,
        keep_alive=True,
        on_response=lambda: None,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made, transport


async def test_the_head_is_uvicorns():
    ours, by_us = cycle()
    theirs, by_uvicorn = cycle()
    assert Direct(ours).begin(PLAIN)
    await theirs.send({"type": "http.response.start", "status": 200, "headers": PLAIN})
    assert by_us.written == by_uvicorn.written
    for made in (ours, theirs):
        await made.send({"type": "http.response.body", "body": b"whole"})
    assert by_us.written == by_uvicorn.written
    state = (
        "response_started",
        "response_complete",
        "chunked_encoding",
        "waiting_for_100_continue",
        "keep_alive",
    )
    assert [getattr(ours, name) for name in state] == [getattr(theirs, name) for name in state]


@pytest.mark.parametrize("value", [b"two\r\nx-lines: 1", b"two\nlines", b"a\0", b"\x7f", b"\x1b[31m"])
async def test_a_value_that_would_be_another_header_is_not_written(value):
    made, transport = cycle()
    head = [*PLAIN, (b"x-odd", value)]
    assert not Direct(made).begin(head)
    with pytest.raises(RuntimeError, match="header value"):
        await made.send({"type": "http.response.start", "status": 200, "headers": head})
    assert transport.written == b""


@pytest.mark.parametrize(
    ("method", "more", "changes"),
    [
        ("HEAD", [], {}),
        ("POST", [(b"content-length", b"3")], {}),
        ("POST", [(b"transfer-encoding", b"chunked")], {}),
        ("POST", [(b"connection", b"close")], {}),
        ("POST", [], {"keep_alive": False}),
        ("POST", [], {"disconnected": True}),
        ("POST", [], {"response_started": True}),
        ("POST", [], {"chunked_encoding": False}),
        ("POST", [], {"access_log": True}),
    ],
)
def test_what_uvicorn_has_to_write(method, more, changes):
    made, transport = cycle(method, **changes)
    assert not Direct(made).begin([*PLAIN, *more])
    assert transport.written == b""


def test_a_client_that_is_slow_is_waited_for():
    made, transport = cycle()
    made.flow.write_paused = True
    assert not Direct(made).begin(PLAIN)
    assert transport.written == b""
