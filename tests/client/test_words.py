"""`words` and `show`: text for people, in pieces that are words, whatever the chunks were."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap

import pytest

import everytoken
from command_line import environment
from everytoken.testing import DEFAULT_TEXT, ScriptedUpstream, tokenise
from guide_loops import CONTEXT, MESSAGES, client_for, openai
from terminal import Terminal

ASKED = {"model": "m", "messages": MESSAGES, "stream": True}
TABLE = [
    ("a word goes out with the space that ends it", ["He", "llo wor", "ld"], ["Hello ", "world"]),
    ("several words may go out together", ["a b c d"], ["a b c ", "d"]),
    ("nothing gives nothing", ["", ""], []),
    ("the end lets go of what is left", ["half"], ["half"]),
]


class Source:
    """A stream of strings that knows whether it was closed."""

    def __init__(self, pieces, error=None, pause=0.0):
        self.pieces, self.error, self.pause, self.closed = list(pieces), error, pause, 0

    def __iter__(self):
        yield from self.pieces
        if self.error is not None:
            raise self.error

    async def __aiter__(self):
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(self.pause)
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1


def sync_source(*args):
    source = Source(*args)
    return type("Only", (), {"__iter__": lambda _: iter(source), "close": lambda _: source.close()})(), source


async def collected(pieces):
    return [piece async for piece in pieces]


@pytest.mark.parametrize(("pieces", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_words(pieces, words):
    assert list(everytoken.words(pieces)) == words
    assert await collected(everytoken.words(Source(pieces))) == words


class TestWords:
    def test_the_pieces_are_the_text(self):
        pieces = list(everytoken.words(tokenise(DEFAULT_TEXT)))
        assert "".join(pieces) == DEFAULT_TEXT
        assert any("👨‍👩‍👧" in piece for piece in pieces)

    def test_the_chunks_of_an_sdk_are_taken(self):
        with (
            ScriptedUpstream(faults=[("always", "several-choices", "start")]) as upstream,
            openai.OpenAI(
                base_url=upstream.base_url, api_key="k", http_client=everytoken.Client(verify=CONTEXT)
            ) as client,
        ):
            assert "".join(everytoken.words(client.chat.completions.create(**ASKED))) == upstream.text

    async def test_those_of_an_async_sdk_too_and_leaving_early_closes_the_connection(self, scripted_upstream):
        upstream = await scripted_upstream(faults=[("always", "silent", "middle")])
        async with client_for(upstream.base_url) as client:
            pieces = everytoken.words(await client.chat.completions.create(**ASKED))
            async for piece in pieces:
                assert upstream.text.startswith(piece)
                break
            await pieces.aclose()
            async with asyncio.timeout(1):
                await upstream.attempts[0].closed.wait()

    def test_leaving_early_closes_the_stream(self):
        stream, source = sync_source(["one ", "two ", "three "])
        for _ in everytoken.words(stream):
            break
        assert source.closed == 1

    async def test_what_came_before_an_error_is_not_lost(self):
        stream, source = sync_source(["one tw"], OSError("gone"))
        pieces = everytoken.words(stream)
        assert [next(pieces), next(pieces)] == ["one ", "tw"]
        with pytest.raises(OSError, match="gone"):
            next(pieces)
        assert source.closed == 1
        source = Source(["one tw"], OSError("gone"))
        pieces = everytoken.words(source)
        assert [await anext(pieces), await anext(pieces)] == ["one ", "tw"]
        with pytest.raises(OSError, match="gone"):
            await anext(pieces)
        assert source.closed == 1

    @pytest.mark.virtual_time
    async def test_a_word_that_stalls_goes_out_after_the_hold(self):
        loop = asyncio.get_running_loop()
        started = loop.time()
        pieces = everytoken.words(Source(["one tw", "o three"], pause=10), hold=0.5)
        told = [(piece, round(loop.time() - started, 1)) async for piece in pieces]
        assert told == [("one ", 0.0), ("tw", 0.5), ("o ", 10.0), ("three", 10.5)]

    async def test_something_else_is_refused(self):
        with pytest.raises(TypeError, match="not of int"):
            list(everytoken.words([1]))


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
