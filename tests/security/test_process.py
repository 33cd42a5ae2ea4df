"""Process manners: signals at any moment, and a system with few descriptors."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import urllib.request
from urllib.parse import urlsplit

import pytest

from command_line import EVERYTOKEN, gateway, read_line, started
from everytoken.testing import ScriptedUpstream

FEW = 'ulimit -n 100; exec "$0" "$@"'
QUIET = ["--upstream", "http://127.0.0.1:9/v1", "--journal", "memory"]


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_without_a_traceback(first, second):
    with ScriptedUpstream(faults=[(0, "silent", "middle")]) as upstream:
        arguments = [
            "--upstream",
            upstream.base_url,
            "--journal",
            "memory",
            "--drain",
            "100",
            "--log-level",
            "error",
        ]
        with gateway(*arguments) as (process, url):
            body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
            request = urllib.request.Request(
                f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=10) as response:
                response.read1(10)
                process.send_signal(first)
                for _ in range(200):  # two that come before either is taken are one
                    process.send_signal(second)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.1)
                        break
                _, error = process.communicate(timeout=20)
        assert b"Traceback" not in error
        assert process.returncode in {0, -first, -second, 128 + first, 128 + second}


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.2, 0.5])
def test_signals_while_it_starts_end_it_without_a_traceback(pause):
    with started("serve", "--port", "0", *QUIET) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(pause)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=20)
    assert b"Traceback" not in error


def test_few_descriptors_are_said_and_survived():
    with started("-c", FEW, EVERYTOKEN, "serve", "--port", "0", *QUIET, program="sh") as process:
        url = read_line(process).rsplit(maxsplit=1)[-1]
        port = urlsplit(url).port
        for _ in range(2):
            many = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
            for connection in many:
                connection.close()
        for _ in range(200):  # until the server has noticed
            try:
                assert urllib.request.urlopen(f"{url}/healthz", timeout=10).status == 200
                break
            except OSError:
                continue
        else:
            pytest.fail("it does not answer any more")
