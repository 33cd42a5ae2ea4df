"""A journal in a real server, as the doctor looks at it; so in real time."""

from __future__ import annotations

import pytest
from tests.journal_backends import shared_postgres, shared_redis

from everytoken.cli.doctor.checks.journal import journal
from everytoken.cli.doctor.runner import Options, examine
from everytoken.gateway import UpstreamConfig
from everytoken.journal.postgres import PostgresJournal
from everytoken.journal.redis import RedisJournal
from everytoken.testing import Answer, ScriptedUpstream
from gateway_serving import limit, serving

ADMIN = "sk-admin-0123456789"


@pytest.mark.blocking_allowed("an HTTP client reads files")
async def test_the_redis_that_all_tests_share_keeps_nothing():
    async with limit(), ScriptedUpstream(Answer("Hello")) as upstream:
        one = UpstreamConfig(name="u", url=upstream.base_url, api="chat")
        async with serving(one, admin_keys=[ADMIN], kept_in=RedisJournal(shared_redis().url)) as gateway:
            done = await examine(Options(base=gateway.url, admin_key=ADMIN, idle=0.1, events=0))
    [finding] = journal(done.measured)
    assert (finding.code, finding.change[0].line) == ("redis-forgets", "appendonly yes")


@pytest.mark.blocking_allowed("an HTTP client reads files")
async def test_the_postgres_that_all_tests_share_does_not_wait_for_its_disk():
    kept_in = PostgresJournal(shared_postgres().url)
    async with limit(), ScriptedUpstream(Answer("Hello")) as upstream:
        one = UpstreamConfig(name="u", url=upstream.base_url, api="chat")
        async with serving(one, admin_keys=[ADMIN], kept_in=kept_in) as gateway:
            done = await examine(Options(base=gateway.url, admin_key=ADMIN, idle=0.1, events=0))
    [finding] = journal(done.measured)
    assert (finding.code, finding.change[0].line) == ("postgres-forgets", "fsync = on")
