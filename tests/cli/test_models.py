"""`everytoken models`, and `everytoken conversations`, which is as simple a list."""

from __future__ import annotations

import json

from command_line import run
from everytoken.testing import ScriptedUpstream, Status

LISTED = {
    "data": [
        {"id": "large", "created": 1700000000, "owned_by": "somebody", "context_length": 131072},
        {"id": "small\x1b[2J", "created": 0},
        {"no": "id"},
    ]
}


class Lister(ScriptedUpstream):
    def __init__(self, status):
        super().__init__()
        self.status = status

    def script_for(self, request):
        self.requests.append(request)
        return [self.status]


def models(*arguments, status=None, **env):
    with Lister(status or Status(200, body=json.dumps(LISTED).encode())) as upstream:
        return run("models", *arguments, EVERYTOKEN_BASE_URL=upstream.base_url, **env)


def test_a_table():
    done = models(EVERYTOKEN_MODEL="small\x1b[2J")
    assert done.stdout.decode() == (
        "   CONTEXT  OWNER     CREATED     MODEL\n   131,072  somebody  2023-11-14  large\n*                                 small␛[2J\n"
    )
    assert models().stdout.decode().split("\n")[1].startswith("*")


def test_json():
    assert json.loads(models("--json").stdout) == LISTED["data"][:2]


def test_nothing_to_list():
    assert models(status=Status(200, body=b'{"data": []}')).stdout == b"The server lists no models.\n"
    done = models(status=Status(200, body=b'{"data": 1}'))
    assert (done.returncode, done.stderr) == (1, b"everytoken: the server's list of models cannot be read\n")
    done = models(status=Status(401, body=b'{"error":{"message":"no"}}'))
    assert done.returncode == 1
    assert b"the key is taken from EVERYTOKEN_API_KEY" in done.stderr
