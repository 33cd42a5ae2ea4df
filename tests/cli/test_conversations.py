"""`everytoken conversations`: the list, and removing from it."""

from __future__ import annotations

import json

from command_line import run
from everytoken.testing import ScriptedUpstream


def test_the_list(tmp_path):
    env = {"XDG_DATA_HOME": str(tmp_path)}
    assert run("conversations", **env).stdout == b"There are no conversations yet.\n"
    with ScriptedUpstream("ok") as upstream:
        run("chat", "--conversation", "work", "one", EVERYTOKEN_BASE_URL=upstream.base_url, **env)
        run("chat", "two", EVERYTOKEN_BASE_URL=upstream.base_url, **env)
    head, newest, oldest = run("conversations", **env).stdout.decode().splitlines()
    assert head.split() == ["ID", "UPDATED", "NAME", "TITLE"]
    assert (newest.split()[-1], oldest.split()[-2:]) == ("two", ["work", "one"])
    [one] = map(json.loads, run("conversations", "--json", "--limit", "1", **env).stdout.splitlines())
    assert [message["content"] for message in one["messages"]] == ["two", "ok"]
    assert "one" in run("conversations", "--remove", "work", **env).stdout.decode()
    done = run("conversations", "--remove", "work", **env)
    assert (done.returncode, done.stderr) == (1, b"everytoken: there is no conversation work\n")
    assert len(run("conversations", **env).stdout.splitlines()) == 2
