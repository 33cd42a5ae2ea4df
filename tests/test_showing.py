"""`show`: text on a terminal, in a file, in a pipe."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap

import pytest

import everytoken
from command_line import environment
from terminal import Terminal
from word_source import Source


class Plain(io.StringIO):
    flushed = 0

    def flush(self):
        self.flushed += 1


class TestShow:
    async def test_where_there_is_no_terminal_the_text_is_printed_as_it_comes(self):
        file = Plain()
        assert everytoken.show(["Hel", "lo\x1b"], file=file) == "Hello\x1b"
        assert (file.getvalue(), file.flushed) == ("Hello\x1b", 2)
        assert await everytoken.show(Source(["Hel", "lo"]), file=file) == "Hello"
        assert file.getvalue() == "Hello\x1bHello"

    def test_standard_output_is_what_it_is_now(self, capsys):
        everytoken.show(["Hello"])
        assert capsys.readouterr().out == "Hello"

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_terminal_gets_markdown_and_a_cursor_even_while_the_stream_stalls(self, kind):
        with Terminal([sys.executable, "-c", PROGRAM, kind], environment(TERM="xterm")) as terminal:
            terminal.read_until(lambda: "bold word▊" in terminal.screen.text)
            assert "**" not in terminal.screen.text
            assert b"\x1b[1m" in terminal.raw
            os.killpg(terminal.process.pid, signal.SIGUSR1)
            assert terminal.read_to_end() == 0
            assert terminal.screen.text == "bold word, and more.\n\n'**bold** word, and more.'"
            assert not terminal.screen.cursor_hidden

    def test_ctrl_c_gives_the_cursor_back(self):
        with Terminal([sys.executable, "-c", PROGRAM, "sync"], environment(TERM="xterm")) as terminal:
            terminal.read_until(lambda: "bold word▊" in terminal.screen.text)
            os.killpg(terminal.process.pid, signal.SIGINT)
            assert terminal.read_to_end() != 0
            assert not terminal.screen.cursor_hidden
            assert "KeyboardInterrupt" in terminal.screen.text

    def test_a_terminal_that_cannot_move_its_cursor_gets_visible_text(self):
        program = "import everytoken; everytoken.show(['a\\x1bb'])"
        with Terminal([sys.executable, "-c", program], environment(TERM="dumb")) as terminal:
            assert terminal.read_to_end() == 0
            assert terminal.screen.text == "a␛b"

    def test_a_pipe_loads_nothing_that_only_a_terminal_needs(self):
        program = "import everytoken, sys; everytoken.show(['a']); sys.exit('rich' in sys.modules)"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert run.stdout == b"a"


# A stream that stalls until it is told to go on.
PROGRAM = textwrap.dedent(
    """
    import asyncio, signal, sys, threading
    import everytoken

    told = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: told.set())

    def stream():
        yield "**bold**"
        yield " word"
        while not told.wait(0.01):
            pass
        yield ", and more."

    async def astream():
        yield "**bold**"
        yield " word"
        while not told.is_set():
            await asyncio.sleep(0.01)
        yield ", and more."

    if sys.argv[1] == "sync":
        text = everytoken.show(stream())
    else:
        async def main():
            return await everytoken.show(astream())
        text = asyncio.run(main())
    print()
    print(repr(text))
    """
)
