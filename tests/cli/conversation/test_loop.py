"""A conversation in tmux, as a person has it: typed, and read from the screen."""

from __future__ import annotations

import asyncio
import http.server
import itertools
import json
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager

import pytest

from command_line import EVERYTOKEN, environment, gateway, run, wait_for
from everytoken.testing import DEFAULT_TEXT, Answer, ScriptedUpstream, Status
from tmux import tmux

STALLED = [("always", "silent", "middle")]
ANSWER = "Yes, of course."
LIMIT = 20.0


def asked(upstream, attempt=-1):
    return [(one["role"], one["content"]) for one in upstream.attempts[attempt].json["messages"]]


@pytest.fixture
def home(tmp_path):
    """The environment of somebody who has never used us."""
    return environment(
        HOME=str(tmp_path),
        XDG_DATA_HOME=str(tmp_path / "data"),
        XDG_CONFIG_HOME=str(tmp_path / "config"),
        LANG="C.UTF-8",
    )


# tmux 3.3 loses the status of some programs, so a shell writes it down; Ctrl-C is for the program.
WITH_STATUS = ("sh", "-c", 'trap : INT; "$0" "$@"; echo "status $?"')


@contextmanager
def conversation(tmp_path, home, upstream, *arguments, around=(), **more):
    url = upstream if isinstance(upstream, str) else upstream.base_url
    command = [*around, EVERYTOKEN, "chat", "-m", "m", *arguments]
    with tmux(tmp_path, command, {**home, "EVERYTOKEN_BASE_URL": url, **more}) as pane:
        prompts(pane, 1)
        yield pane


def prompts(pane, count):
    """Wait for the prompt that is to come, which is empty."""
    return pane.wait(lambda text: text.count("\n>") >= count and text.endswith("\n>"))


def tell(pane, what, *parts):
    """Enter it, and wait for these parts of the answer and the prompt: what comes before that is taken for a paste."""
    before = pane.text
    pane.enter(what)
    text = prompts(pane, before.count("\n>") + 1)
    assert all(part in text[len(before) :] for part in parts), text


def saved(tmp_path):
    """Return the one conversation that is kept, and its file."""
    [path] = (tmp_path / "data" / "everytoken" / "conversations").iterdir()
    return json.loads(path.read_text()), path


def test_questions_and_answers(tmp_path, home):
    with (
        ScriptedUpstream(ANSWER) as upstream,
        conversation(tmp_path, home, upstream, around=WITH_STATUS) as pane,
    ):
        assert "/help lists the commands" in pane.text
        pane.enter("one")
        text = prompts(pane, 2)
        assert text.endswith(f"\n> one\n\n{ANSWER}\n\n>"), "with an empty line around the answer"
        assert "\x1b[1m\x1b[36m> " in pane.styled or "\x1b[1;36m> " in pane.styled
        pane.press("Up")
        pane.wait_for("\n> one\n\n" + ANSWER + "\n\n> one")
        pane.type(" two")
        pane.press("Home")
        pane.type("not ")
        pane.press("Enter")
        prompts(pane, 3)
        pane.press("C-d")
        pane.wait(lambda text: text.partition("\nstatus ")[2][:1] == "0")
    assert asked(upstream) == [("user", "one"), ("assistant", ANSWER), ("user", "not one two")]
    kept, path = saved(tmp_path)
    assert [message["content"] for message in kept["messages"]] == ["one", ANSWER, "not one two", ANSWER]
    assert kept["title"] == "one"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    history = tmp_path / "data" / "everytoken" / "history.jsonl"
    assert history.stat().st_mode & 0o777 == 0o600
    assert history.read_text() == '"one"\n"not one two"\n'


def test_several_lines_are_one_question(tmp_path, home):
    with ScriptedUpstream("ok") as upstream, conversation(tmp_path, home, upstream) as pane:
        pane.type("a")
        pane.press("M-Enter")
        pane.type("b")
        pane.press("C-j")
        pane.enter("c")
        prompts(pane, 2)
        assert asked(upstream) == [("user", "a\nb\nc")]
        for told in (True, False):
            pane.paste("def f():\n    return 1\n\nprint(f())\n", told=told)
            pane.wait_for("print(f())")
            if told:
                pane.press("Enter")
            prompts(pane, 3 if told else 4)
            assert asked(upstream)[-1] == ("user", "def f():\n    return 1\n\nprint(f())")
        pane.enter('"""one')
        pane.enter("")
        pane.enter('two"""')
        prompts(pane, 5)
        assert asked(upstream)[-1] == ("user", "one\n\ntwo")


def test_commands(tmp_path, home):
    with (
        ScriptedUpstream(ANSWER) as upstream,
        conversation(tmp_path, home, upstream, around=WITH_STATUS) as pane,
    ):
        tell(pane, "/help", "/quit", "Alt-Enter")
        tell(pane, "/modle", "there is no command /modle; did you mean /model?")
        tell(pane, "/xyzzy", "/help lists the commands")
        tell(pane, "/retry", "there is no question yet")
        tell(pane, "/model", "  scripted", "* m")
        tell(pane, "/mod\t scripted", "the model is scripted now")
        tell(pane, "/system Be brief.", "the instructions are: Be brief.")
        tell(pane, "one", ANSWER)
        assert upstream.attempts[-1].json["model"] == "scripted"
        first = [("system", "Be brief."), ("user", "one")]
        assert asked(upstream) == first
        pane.enter("/retry")
        pane.wait(lambda _: len(upstream.attempts) == 2)
        assert asked(upstream) == first
        pane.wait(lambda text: text.count(ANSWER) == 2)
        pane.enter("/edit")
        pane.wait(lambda text: text.endswith("> /edit\n> one"))
        pane.press("C-c")
        pane.enter("two")
        pane.wait(lambda text: text.count(ANSWER) == 3)
        assert asked(upstream) == [*first, ("assistant", ANSWER), ("user", "two")]
        pane.enter("/edit")
        pane.wait(lambda text: text.endswith("> /edit\n> two"))
        pane.enter(" three")
        pane.wait(lambda text: text.count(ANSWER) == 4)
        assert asked(upstream) == [*first, ("assistant", ANSWER), ("user", "two three")]
        for name in ("talk.json", "talk.md"):
            tell(pane, f"/save {tmp_path / name}", "written to")
        tell(pane, "/save", "kept as")
        tell(pane, "/new", "another conversation")
        tell(pane, f"/load {tmp_path / 'talk.json'}", "“one”, 2 questions")
        pane.enter("four")
        pane.wait(lambda text: text.count(ANSWER) == 5)
        assert [content for _, content in asked(upstream)] == [
            *("Be brief.", "one", ANSWER, "two three", ANSWER, "four")
        ]
        pane.enter("/quit")
        pane.wait(lambda text: text.partition("\nstatus ")[2][:1] == "0")
    assert (tmp_path / "talk.md").read_text().startswith("# one\n\n*System: Be brief.*\n\n> one\n\nYes")
    assert (tmp_path / "talk.json").stat().st_mode & 0o777 == 0o600


def test_a_question_that_fails_costs_nothing(tmp_path, home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (tmp_path / "talk.json").write_text(
            '[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]'
        )
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with conversation(tmp_path, home, url) as pane:
            tell(pane, f"/load {tmp_path / 'talk.json'}", "“q”, 1 question")
            tell(pane, "/retry", "Connection refused")
            tell(pane, f"/save {tmp_path / 'talk.json'}", "written to")
    kept = json.loads((tmp_path / "talk.json").read_text())
    assert [one["content"] for one in kept["messages"]] == ["q", "a"]


def gated(text, pieces):
    """Return an upstream that stops behind so many pieces until its gate is open."""
    gate, count = threading.Event(), itertools.count()

    async def wait(_: float) -> None:
        if next(count) >= pieces:
            await asyncio.to_thread(gate.wait, LIMIT)

    return ScriptedUpstream(Answer(text, delay=0.001), sleep=wait), gate


def test_keys_that_are_typed_during_an_answer_are_the_next_question(tmp_path, home):
    upstream, gate = gated("one two three four five", 3)
    with upstream, conversation(tmp_path, home, upstream) as pane:
        pane.enter("go")
        pane.wait_for("one two")
        pane.type("nextx")
        pane.press("BSpace", "Up", "Enter")
        pane.type("line")
        pane.wait_for("waiting for the rest · ")
        assert "next" not in pane.text
        gate.set()
        pane.wait(lambda text: text.endswith("one two three four five\n\n> next\n  line"))
        assert len(upstream.attempts) == 1, "nothing is asked that nobody has sent off"


def test_what_is_typed_while_a_command_is_done_is_the_next_one(tmp_path, home):
    class Models(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            gate.wait(LIMIT)
            body = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    asked, gate = threading.Event(), threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with conversation(tmp_path, home, f"http://127.0.0.1:{server.server_port}/v1") as pane:
            pane.enter("/model")
            assert asked.wait(LIMIT)
            pane.enter("/system Be brieg\bf.")
            gate.set()
            text = pane.wait_for("the instructions are: Be brief.")
            assert text.count("/system") == 1, "nor is it shown twice"
        server.shutdown()


def test_ctrl_c_stops_an_answer_which_is_kept_as_what_it_is(tmp_path, home):
    with ScriptedUpstream(ANSWER, faults=[(0, "silent", "middle")]) as upstream:
        with conversation(tmp_path, home, upstream) as pane:
            pane.enter("one")
            pane.wait_for("\nYes,")
            pane.press("C-c")
            assert prompts(pane, 2).endswith("> one\n\nYes,\nstopped\n\n>")
            wait_for(upstream.attempts[0].closed.is_set, 5)
            pane.type("nonsense")
            pane.press("C-c")
            prompts(pane, 3)
        with conversation(tmp_path, home, upstream, "-c") as pane:
            pane.wait_for("“one”", "> one", "cancelled")
            pane.enter("two")
            pane.wait_for(ANSWER)
    (_, kept), *_ = asked(upstream)[1:]
    assert ANSWER.startswith(kept)
    assert [one["outcome"] for one in saved(tmp_path)[0]["messages"] if one["role"] == "assistant"] == [
        *("cancelled", "completed")
    ]


@pytest.mark.parametrize("when", ["at the prompt", "in an answer", "in a single answer"])
def test_sigterm_leaves_the_terminal_as_it_was(when, tmp_path, home):
    single = "hi" if when == "in a single answer" else ""
    program = f"echo $$ > {tmp_path}/pid; exec {EVERYTOKEN} chat -m m {single}"
    script = f"stty -g; sh -c '{program}'; echo status $?; stty -g; sleep 100"
    with ScriptedUpstream(ANSWER, faults=STALLED) as upstream:
        env = {**home, "EVERYTOKEN_BASE_URL": upstream.base_url}
        with tmux(tmp_path, ["sh", "-c", script], env) as pane:
            if not single:
                prompts(pane, 1)
            if when == "in an answer":
                pane.enter("hi")
            if when != "at the prompt":
                pane.wait_for("Yes,")
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
            text = pane.wait(
                lambda text: text.count("status 143\n") and len(text.split("status 143\n")[1]) > 9
            )
            assert text.split("\n")[0] == text.split("status 143\n")[1].split("\n")[0]
            assert pane.ask("#{cursor_flag}") == "1"


def test_ctrl_z_and_fg_in_the_middle_of_an_answer(tmp_path, home):
    upstream, gate = gated("one two three\n\n- four\n- five", 5)
    with upstream:
        env = {**home, "EVERYTOKEN_BASE_URL": upstream.base_url, "PS1": "shell: "}
        with tmux(tmp_path, ["bash", "--norc", "--noprofile", "-i"], env) as pane:
            pane.wait_for("shell:")
            pane.enter(f"{EVERYTOKEN} chat -m m hi")
            pane.wait_for("one two")
            pane.press("C-z")
            pane.wait_for("Stopped")
            assert pane.ask("#{cursor_flag}") == "1"
            pane.enter("stty -a | grep -o ' echo '; echo seen")
            pane.wait_for("\n echo\nseen")
            gate.set()
            pane.enter("fg")
            text = pane.wait(lambda text: text.endswith("• five\nshell:"))
            assert text.endswith("one two three\n\n • four\n • five\nshell:")
            assert pane.ask("#{cursor_flag}") == "1"


# A shell that takes the terminal as a stopped program has left it, and says how that is.
SHELL = """
import os, signal, subprocess, sys
def in_front():
    os.tcsetpgrp(0, os.getpgrp())
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
def begin():
    os.setpgrp()
    in_front()
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
os.system("stty -g")
chat = subprocess.Popen([sys.argv[1], "chat", "-m", "m"], preexec_fn=begin)
os.waitpid(chat.pid, os.WUNTRACED)
in_front()
os.system("echo; echo stopped; stty -g")
os.tcsetpgrp(0, chat.pid)
os.kill(chat.pid, signal.SIGCONT)
chat.wait()
"""


def test_ctrl_z_in_a_conversation_leaves_the_shell_its_terminal(tmp_path, home):
    upstream, gate = gated("one two three four five", 3)
    with (
        upstream,
        tmux(
            tmp_path,
            [sys.executable, "-c", SHELL, EVERYTOKEN],
            {**home, "EVERYTOKEN_BASE_URL": upstream.base_url},
        ) as pane,
    ):
        prompts(pane, 1)
        pane.enter("go")
        pane.wait_for("one two")
        pane.press("C-z")
        text = pane.wait(lambda text: len(text.partition("\nstopped\n")[2]) > 9)
        assert text.split("\n")[0] == text.split("\nstopped\n")[1].split("\n")[0]
        gate.set()
        pane.wait_for("one two three four five")


def test_a_killed_gateway_comes_back_and_the_answer_goes_on(tmp_path, home):
    upstream, gate = gated(DEFAULT_TEXT, 8)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with upstream:
        serve = ("--upstream", upstream.base_url, "--port", str(port), "--journal", f"sqlite:///{tmp_path}/j")
        with gateway(*serve, **home) as (process, url), conversation(tmp_path, home, f"{url}/v1") as pane:
            pane.enter("go")
            beginning = DEFAULT_TEXT[:12]
            pane.wait_for(beginning)
            process.send_signal(signal.SIGKILL)
            process.wait()
            pane.wait_for("the connection was lost: reconnecting · ")
            gate.set()
            with gateway(*serve, **home):
                prompts(pane, 2)
                pane.enter(f"/save {tmp_path / 'talk.json'}")
                pane.wait_for("written to")
    [_, answer] = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert (answer["content"], answer["outcome"]) == (DEFAULT_TEXT, "completed")


def test_it_says_what_the_gateway_does(tmp_path, home):
    faults = [(0, "close", "middle"), ("always", "silent-after-head", "start")]
    with (
        ScriptedUpstream(faults=faults) as upstream,
        gateway("--upstream", upstream.base_url) as (_, url),
        conversation(tmp_path, home, f"{url}/v1") as pane,
    ):
        pane.enter("go")
        pane.wait_for("\nthe provider was cut (upstream-truncated): attempt 2 · ")
        pane.press("C-c")
        assert "the provider" not in prompts(pane, 2)


def test_a_killed_conversation_is_continued_with_the_answer_it_had(tmp_path, home):
    upstream, gate = gated(DEFAULT_TEXT, 8)
    with upstream, gateway("--upstream", upstream.base_url) as (_, url):
        with conversation(tmp_path, home, f"{url}/v1") as pane:
            pane.enter("go")
            pane.wait_for(DEFAULT_TEXT[:12])
            pane.tmux("run-shell", "kill -KILL #{pane_pid}")
            pane.wait(lambda _: pane.ask("#{pane_dead}") == "1")
        gate.set()
        done = run("chat", "-c", "and then?", "--json", EVERYTOKEN_BASE_URL=f"{url}/v1", **home)
    assert done.returncode == 0, done.stderr
    assert asked(upstream) == [("user", "go"), ("assistant", DEFAULT_TEXT), ("user", "and then?")]


def test_a_refusal_and_an_unknown_model_say_what_to_do(tmp_path, home):
    unknown = Status(404, body=b'{"error":{"message":"no such model","code":"model_not_found"}}')
    with ScriptedUpstream([unknown]) as upstream:
        done = run("chat", "hi", "-m", "x", EVERYTOKEN_BASE_URL=upstream.base_url, **home)
    assert done.stderr.decode() == (
        "everytoken: the server answered 404 Not Found: no such model; `everytoken models` lists the models, "
        "--model NAME chooses one\n"
    )
    with ScriptedUpstream(Answer((), refusal="I will not.")) as upstream:
        done = run("chat", "hi", "-m", "x", EVERYTOKEN_BASE_URL=upstream.base_url, **home)
    assert (done.returncode, done.stdout) == (0, b"I will not.")
    assert done.stderr.startswith(b"note: the model has refused; ask in another way")
