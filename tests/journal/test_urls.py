"""The journal that a URL names."""

from __future__ import annotations

from everytoken.gateway import Config, Gateway
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.urls import journal_at, register_journal

SETTINGS = {"port": 1, "retention": 60.0, "max_bytes": 10**6, "durability": "process", "lease": 10.0}


def test_a_mounted_gateway_keeps_responses_in_memory_unless_told_otherwise(tmp_path):
    assert isinstance(Gateway(Config()).journal, MemoryJournal)
    assert Gateway(Config(journal=f"sqlite:///{tmp_path}/j.sqlite")).journal.durable


def test_a_journal_registered_by_hand():
    register_journal("hand", lambda url, settings: (url, settings.port, settings.lease))
    assert journal_at("hand:made", **SETTINGS) == ("hand:made", 1, 10.0)
