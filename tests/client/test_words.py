"""`words` and `show`: text for people, in pieces that are words, whatever the chunks were."""

from __future__ import annotations

import asyncio

import pytest

import everytoken
from everytoken.testing import DEFAULT_TEXT, ScriptedUpstream, tokenise
from guide_loops import CONTEXT, MESSAGES, client_for, openai
from word_source import Source

ASKED = {"model": "m", "messages": MESSAGES, "stream": True}
TABLE = [
    ("a word goes out with the space that ends it", ["He", "llo wor", "ld"], ["Hello ", "world"]),
    ("several words may go out together", ["a b c d"], ["a b c ", "d"]),
    ("nothing gives nothing", ["", ""], []),
    ("the end lets go of what is left", ["half"], ["half"]),
]


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
