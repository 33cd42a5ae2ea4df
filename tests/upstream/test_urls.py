"""The upstream that a URL names."""

from __future__ import annotations

import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.upstream.embedded import EmbeddedUpstream
from everytoken.upstream.http import HttpUpstream
from everytoken.upstream.urls import register_upstream, upstream_at


def test_the_schemes_that_are_built_in():
    for url in ("http://127.0.0.1:1/v1", "HTTPS://example.com/v1"):
        assert isinstance(upstream_at("u", url), HttpUpstream)
    assert isinstance(upstream_at("u", "embedded:"), EmbeddedUpstream)


def test_what_is_called_embedded_and_has_no_url_is_the_embedded_model():
    llm = Gateway(Config(upstream=[UpstreamConfig(name="embedded", url="")]))
    assert isinstance(llm.upstreams["embedded"], EmbeddedUpstream)


@pytest.mark.parametrize("url", ["nothing://example.com", "localhost:1", "", "://"])
def test_a_scheme_that_nobody_adds_is_refused(url):
    with pytest.raises(ConfigurationError, match="is not an http:// or https:// URL"):
        upstream_at("u", url)


def test_an_upstream_registered_by_hand():
    made = object()
    register_upstream("hand", lambda name, url, *, api_key, headers: made)
    assert upstream_at("u", "hand:made") is made
