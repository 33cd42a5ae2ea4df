"""A journal against a list: whatever is done to it, in whatever order, and wherever the process dies."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.journal_backends import BACKENDS, info, read_all, until

import everytoken.journal.sqlite as sqlite_module
from everytoken.errors import FencedError, StreamClosedError, StreamNotFoundError
from everytoken.journal import Append, Producer, sqlite_tidying

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from everytoken.journal import Writer

_WHICH = st.integers(0, 2)
_RECORDS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        *(
            st.integers(0, 99).map(lambda n, kind=kind: kind * 40 + b"%d" % n + kind * 30)  # type: ignore[misc]
            for kind in (b"a", b"b")
        ),
    ),
    min_size=1,
    max_size=4,
)


class _Model:
    """What a stream has to hold: `stored` records surely, and then perhaps some of `sent`."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self.stored: list[bytes] = []
        self.sent: list[bytes] = []
        self.closed = False
        self.closing = False
        self.writer: Writer | None = None
        self.seq = -1


class JournalMachine(RuleBasedStateMachine):
    """Drives one journal through appends, ends, claims, deletions and crashes."""

    backend_class: Any

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.path = Path(tempfile.mkdtemp())
        self.backend = self.backend_class(self.path)
        self.model: dict[str, _Model] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def pick(self, which: int) -> tuple[str, _Model]:
        return list(self.model.items())[which % len(self.model)]

    @contextlib.contextmanager
    def in_loop(self) -> Iterator[None]:
        """Be in the event loop without a turn of it: what is appended is sent, and not yet stored."""
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    @initialize()
    def start(self) -> None:
        self.journal = self.run(self.backend.open())

    def teardown(self) -> None:
        self.run(self.journal.stop())
        self.loop.close()
        shutil.rmtree(self.path)

    @precondition(lambda self: len(self.model) < 3)
    @rule(records=_RECORDS, shared=st.booleans())
    def create(self, records: list[bytes], *, shared: bool) -> None:
        name = next(name for name in "abc" if name not in self.model)
        model = self.model[name] = _Model(shared=shared)
        model.writer = self.run(self.journal.create(info(name, shared=shared), records))
        model.stored = list(records)

    @precondition(lambda self: self.model)
    @rule(which=_WHICH, records=_RECORDS, times=st.integers(1, 8), stored=st.booleans())
    def append(self, which: int, records: list[bytes], times: int, *, stored: bool) -> None:
        _, model = self.pick(which)
        if model.writer is None or model.shared:
            return
        if model.closing:
            with pytest.raises(StreamClosedError):
                model.writer.append(records)
            return
        for _ in range(times):
            with self.in_loop():
                model.writer.append(records)
            model.sent += records
            if stored:
                self.turn()

    @precondition(lambda self: self.model)
    @rule(which=_WHICH, records=_RECORDS)
    def submit(self, which: int, records: list[bytes]) -> None:
        name, model = self.pick(which)
        if not model.shared or model.closing:
            return
        append = Append(records=records, producer=Producer("p", 0, model.seq + 1))
        for duplicate in (False, True):
            done = self.run(self.journal.submit(name, append))
            assert (done.duplicate, done.tail) == (duplicate, len(model.stored) + len(records))
        model.seq += 1
        model.stored += records

    @precondition(lambda self: self.model)
    @rule(which=_WHICH, records=_RECORDS)
    def close(self, which: int, records: list[bytes]) -> None:
        name, model = self.pick(which)
        if model.writer is None or model.closing or model.shared:
            return
        with self.in_loop():
            model.writer.close(records, {"of": name})
        model.sent += records
        model.closing = True

    @rule()
    def turn(self) -> None:
        """Let everything be stored."""

        async def stored() -> None:
            for name, model in self.model.items():
                log = await self.journal.open(name)
                due = len(model.stored) + len(model.sent)
                await until(lambda: log.tail == due and log.closed == model.closing)  # noqa: B023

        self.run(stored())
        for model in self.model.values():
            model.stored += model.sent
            model.sent = []
            model.closed = model.closing

    @precondition(lambda self: self.model)
    @rule(which=_WHICH)
    def claim(self, which: int) -> None:
        name, model = self.pick(which)
        if model.closing or model.shared:
            return
        old = model.writer
        model.writer = self.run(self.journal.claim(name))
        if old is not None:
            with pytest.raises(FencedError):
                old.append([b"late"])
        model.stored += model.sent
        model.sent = []

    @precondition(lambda self: self.model)
    @rule(which=_WHICH, really=st.integers(0, 2))
    def delete(self, which: int, really: int) -> None:
        name, _ = self.pick(which)
        if really:
            return
        del self.model[name]
        self.run(self.journal.delete(name))
        with pytest.raises(StreamNotFoundError):
            self.run(self.journal.delete(name))

    @precondition(lambda self: self.backend.durable)
    @rule(really=st.integers(0, 4))
    def crash(self, really: int) -> None:
        if really:
            return
        self.run(self.backend.crash(self.journal))
        self.journal = self.run(self.backend.open())
        for name, model in self.model.items():
            log = self.run(self.journal.open(name))
            records = self.run(read_all(log))
            due = model.stored + model.sent
            assert len(records) >= len(model.stored)
            assert records == due[: len(records)]
            assert not log.closed or (model.closing and records == due)
            assert log.closed or not model.closed
            model.stored, model.sent = records, []
            model.closed = model.closing = log.closed
            model.writer = None
        orphans = self.run(self.journal.orphans())
        due_orphans = {name for name, model in self.model.items() if not (model.closed or model.shared)}
        assert set(orphans) == due_orphans

    @precondition(lambda self: self.model)
    @rule(which=_WHICH, offset=st.integers(0, 8), limit=st.integers(1, 60))
    def read(self, which: int, offset: int, limit: int) -> None:
        name, model = self.pick(which)
        if offset > len(model.stored):
            return
        log = self.run(self.journal.open(name))
        records = self.run(read_all(log, offset, limit))
        assert records == (model.stored + model.sent)[offset : offset + len(records)]
        assert len(records) >= len(model.stored) - offset

    @rule()
    def tidy(self) -> None:
        if not hasattr(self.journal, "sweep"):
            return
        with self.in_loop():
            self.journal.sweep()
        self.run(asyncio.sleep(0))

    @invariant()
    def nothing_is_visible_that_was_not_sent(self) -> None:
        for name, model in self.model.items():
            stream = self.journal._streams.get(name)
            if stream is not None:
                assert len(model.stored) <= stream.tail <= len(model.stored) + len(model.sent)


@pytest.fixture
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[JournalMachine]:
    # Everything that is done now and then is done all the time.
    monkeypatch.setattr(sqlite_tidying, "TIDY", 2)
    monkeypatch.setattr(sqlite_tidying, "SEGMENT", 300)
    monkeypatch.setattr(sqlite_tidying, "LOG_LIMIT", 400)
    monkeypatch.setattr(sqlite_module, "_CHECKPOINT", 20_000)

    class Machine(JournalMachine):
        backend_class = BACKENDS[request.param]

    return Machine


@pytest.mark.blocking_allowed("runs its own event loops")
@pytest.mark.parametrize("machine", ["memory", "sqlite"], indirect=True)
def test_a_journal_does_as_a_list_would(machine: type[JournalMachine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=10, stateful_step_count=50, deadline=None, database=None)
    )


def _a_record(kind: bytes, chance: random.Random) -> bytes:
    return kind * 40 + b"%d" % chance.randrange(1000) + kind * 30


@pytest.mark.blocking_allowed("runs its own event loops")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("machine", ["sqlite", "sqlite with fsync", "redis", "postgres"], indirect=True)
def test_a_journal_does_as_a_list_would_on_a_long_walk(machine: type[JournalMachine], seed: int) -> None:
    chance = random.Random(seed)
    walk = machine()
    walk.start()
    for _ in range(300):
        kind = chance.choice([b"a", b"b", b""])
        records = [_a_record(kind, chance) for _ in range(chance.randrange(1, 4))]
        which = chance.randrange(3)
        if len(walk.model) < 3:
            walk.create(records, shared=chance.random() < 0.2)
        step = chance.randrange(100)
        if step < 60:
            walk.append(which, records, chance.randrange(1, 5), stored=chance.random() < 0.7)
        elif step < 70:
            walk.submit(which, records)
        elif step < 75:
            walk.close(which, records)
        elif step < 80:
            walk.claim(which)
        elif step < 83:
            walk.delete(which, 0)
        elif step < 86:
            walk.tidy()
        elif step < 93:
            walk.read(which, chance.randrange(9), chance.randrange(1, 60))
        else:
            walk.crash(0)
        walk.nothing_is_visible_that_was_not_sent()
    walk.teardown()
