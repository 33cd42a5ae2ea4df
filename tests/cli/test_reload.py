"""`everytoken reload` as a program: what it says and changes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from command_line import gateway, run

pytestmark = pytest.mark.blocking_allowed("the commands run as programs")
KEY = "sk-admin-0123456789abcdef"
UPSTREAM = '[[upstream]]\nname = "u"\nurl = "http://127.0.0.1:9/v1"\n'


def reload(url, *arguments, **env):
    done = run("reload", *arguments, EVERYTOKEN_BASE_URL=f"{url}/v1", EVERYTOKEN_ADMIN_KEY=KEY, **env)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_what_has_changed_and_what_waits_is_told_and_a_mistake_changes_nothing(tmp_path):
    file = tmp_path / "everytoken.toml"
    file.write_text(f'admin_keys = ["{KEY}"]\n{UPSTREAM}')
    with gateway("--config", str(file)) as (_, url):
        assert reload(url) == (0, "nothing has changed\n", "")
        file.write_text(f'admin_keys = ["{KEY}"]\ngrace = 5\nretention = 9\n{UPSTREAM}[policy]\nattempts = 2')
        assert reload(url) == (0, "changed: grace, policy.attempts\nat the next start: retention\n", "")
        status, out, _ = reload(url, "--json")
        assert (status, json.loads(out)) == (0, {"changed": [], "waiting": ["retention"]})

        file.write_text(f'admin_keys = ["{KEY}"]\ngrace = "x"\nprot = 9\n{UPSTREAM}')
        status, out, error = reload(url)
        assert (status, out) == (1, "")
        assert "the configuration has 2 errors:" in error
        assert f"{file}:2:1: " in error
        assert "did you mean 'port'?" in error
        request = urllib.request.Request(
            f"{url}/admin/reload", b"", {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
        told = json.load(raised.value)
        assert raised.value.code == 422
        assert told["error"]["code"] == "configuration-invalid"
        assert [problem["line"] for problem in told["problems"]] == [2, 3]

        file.write_text(f'admin_keys = ["{KEY}"]\ngrace = 5\n{UPSTREAM}')
        assert reload(url) == (0, "changed: policy.attempts\n", ""), "what had a mistake changed nothing"
        request = urllib.request.Request(f"{url}/admin/reload", headers={"authorization": f"Bearer {KEY}"})
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request, timeout=10)


def test_who_may_and_where_there_is_nothing_to_read():
    with gateway("--upstream", "http://127.0.0.1:9/v1", EVERYTOKEN_ADMIN_KEYS=KEY) as (_, url):
        status, _, error = reload(url)
        assert status == 1
        assert "no configuration file" in error
        status, _, error = reload(url, "--admin-key", "sk-other-0123456789")
        assert status == 1
        assert "unknown" in error
