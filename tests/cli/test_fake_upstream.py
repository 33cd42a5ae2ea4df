"""`everytoken fake-upstream` as a program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from everytoken.cli import commands
from everytoken.testing import FAULTS, ScriptedUpstream


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--fault", "nonsense"], "is not one of", id="an unknown fault"),
        pytest.param(["--at", "nowhere"], "byte:N", id="an unknown position"),
        pytest.param(["--times", "often"], "nor 'always'", id="not a number of times"),
        pytest.param(
            ["--fault", "dns-failure", "--times", "1"], "breaks the address", id="an address cannot count"
        ),
        pytest.param(["--chunks", "0"], "0 is not in the range", id="no chunks"),
        pytest.param(["--chunks", "1", "--text", "-"], "exclude each other", id="a text of so many chunks"),
        pytest.param(["--text", "nowhere"], "No such file", id="no text"),
        pytest.param(["--api", "smalltalk"], "is not one of", id="an unknown API"),
        pytest.param(
            ["--tool-call", "look {"], "a JSON object of arguments", id="arguments that are no JSON"
        ),
        pytest.param(["--tool-call", ""], "a JSON object of arguments", id="a call of nothing"),
    ],
)
def test_a_wrong_option_is_explained(arguments, message):
    result = CliRunner().invoke(commands, ["fake-upstream", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_help_lists_the_faults():
    output = CliRunner().invoke(commands, ["fake-upstream", "--help"], terminal_width=200).output
    assert all(f"  {name} " in output and fault.description in output for name, fault in FAULTS.items())


def test_the_server_says_where_it_is_breaks_as_told_and_stops():
    options = ["--fault", "clean-end", "--at", "2", "--times", "1", "--delay", "0", "--chunks", "9"]
    code = "from everytoken.cli.fake_upstream import fake_upstream; fake_upstream()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            url = re.fullmatch(r"fake upstream ready at (http://127\.0\.0\.1:\d+/v1)\n", line)[1]
            counts = [body.count(b'"content":"') for body in (post(url), post(url))]
        finally:
            process.terminate()
        assert counts == [1 + 2, 1 + 9]  # the role chunk has an empty content
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


def test_it_offers_the_text_of_a_file_in_the_api_that_is_named(tmp_path):
    text = tmp_path / "text"
    text.write_text("Wörd by word.", encoding="utf-8")
    options = ["--api", "messages", "--delay", "0", "--text", str(text)]
    code = "from everytoken.cli.fake_upstream import fake_upstream; fake_upstream()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline().split()[-1]
            body = post(url, "/messages").decode()
            with pytest.raises(urllib.error.HTTPError):
                post(url)
        finally:
            process.terminate()
        assert process.wait(10) == 0
    deltas = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
    assert "".join(delta.get("delta", {}).get("text", "") for delta in deltas) == "Wörd by word."


def post(url, path="/chat/completions"):
    request = urllib.request.Request(f"{url}{path}", data=b'{"stream": true, "messages": []}')
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def test_a_port_in_use_is_one_line():
    with ScriptedUpstream() as upstream:
        result = CliRunner().invoke(commands, ["fake-upstream", "--port", str(upstream.port)])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {upstream.port}" in result.output


SAYS = {
    "chat": ('"reasoning_content":"Hm"', '"arguments":"sky"', "data: [DONE]"),
    "messages": ('"thinking":"Hm"', '"partial_json":"sky"', '{"type":"message_stop"}'),
    "responses": ('summary_index":0,"delta":"Hm"', '"delta":"sky"', '"type":"response.completed"'),
}


@pytest.mark.parametrize("api", SAYS)
def test_reasoning_and_calls_come_in_every_api(api):
    options = ["--api", api, "--delay", "0", "--reasoning", "Hm.", "--tool-call", 'look {"at": "sky"}']
    code = "from everytoken.cli.fake_upstream import fake_upstream; fake_upstream()"
    paths = {"chat": "/chat/completions", "messages": "/messages", "responses": "/responses"}
    with subprocess.Popen(
        [sys.executable, "-c", code, *options, "--tool-call", "wait"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            body = post(process.stdout.readline().split()[-1], paths[api]).decode()
        finally:
            process.terminate()
        assert process.wait(10) == 0
    assert all(one in body for one in SAYS[api])
    assert '"name":"wait"' in body
