"""`/openapi.json` and `/docs`: valid, complete, and true of what is served."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from everytoken.errors import TABLE
from everytoken.gateway.app import _ROUTES
from everytoken.gateway.console import CONSOLE
from everytoken.gateway.openapi.document import document, operations
from everytoken.gateway.openapi.operations import ERRORS, OPERATIONS
from everytoken.gateway.pages import CONTENT_SECURITY_POLICY
from gateway_serving import ManualUpstream, limit, serving

ADMIN = "sk-admin-0123456789"
BEARER = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
# What stands for the parts of a path in braces.
FILLED = {"rest": "style.css", "key": "nobody", "probe_id": "none"}
# Beyond those of the table: what regular expressions route.
BEYOND = {
    "/api/chat/c/stream": "get",
    "/api/chat/c/stop": "post",
    "/v1/stream/s": "get head put post delete",
    "/v1/stream/s/events": "get",
    "/v1/stream/s/result": "get head",
    "/v1/stream/s/cancel": "post",
    "/v1/responses/r": "get head delete",
    "/v1/responses/r/cancel": "post",
    "/v1/responses/r/input_items": "get head",
    "/v1/models/m": "get head",
    "/v1/probe/p": "get head",
    "/admin/keys": "get head post",
    "/admin/keys/k": "get head",
    "/admin/keys/k/revoke": "post",
    "/admin/keys/k/rotate": "post",
    "/admin/keys/k/limits": "post",
    "/admin/responses": "get head",
    "/admin/responses/r": "get head",
    "/admin/responses/r/stop": "post",
    "/admin/reload": "post",
    "/admin/health": "get head",
    "/admin/probe": "post",
    "/admin/overview": "get head",
    "/admin/live": "get",
    "/console": "get head",
    "/v1/embeddings": "post",
    "/v1/rerank": "post",
    "/v1/moderations": "post",
    "/v1/images/generations": "post",
    "/v1/audio/speech": "get head post",
    "/v1/batches": "get head post delete",
    "/v1/files/f": "get head post delete",
    "/": "get head",
    "/assets/docs.css": "get head",
}
NOT_SAID = {
    "configuration-invalid",  # 422 of a reload, which is described by itself
}


def methods(item):
    return {name for name in item if name in {"get", "head", "put", "post", "delete"}}


async def described(gateway):
    answer = await gateway.ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json


async def test_it_is_valid():
    validator = pytest.importorskip("openapi_spec_validator")
    async with limit(), serving(ManualUpstream(), pass_through=["/v1/batches", "/v1/files/*"]) as gateway:
        told = await described(gateway)
    validator.validate(told)
    names = [item[method]["operationId"] for item in told["paths"].values() for method in methods(item)]
    assert len(set(names)) == len(names)


async def test_every_route_is_in_it_with_its_methods():
    async with limit(), serving(ManualUpstream(), pass_through=["/v1/batches", "/v1/files/*"]) as gateway:
        paths = (await described(gateway))["paths"]
        assert {path for path in gateway.gateway.pages if not path.startswith("/assets/")} <= paths.keys()
    patterns = {
        re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))): item for path, item in paths.items()
    }
    assert set(CONSOLE) <= BEYOND.keys()
    for path, allowed in {**{p: " ".join(m).lower() for p, (m, _) in _ROUTES.items()}, **BEYOND}.items():
        found = [item for pattern, item in patterns.items() if pattern.fullmatch(path)]
        if path in paths:
            found = [paths[path]]
        assert len(found) == 1, path
        assert methods(found[0]) == set(allowed.split()), path


async def test_every_path_in_it_is_served_and_refuses_only_other_methods():
    async with (
        limit(),
        serving(ManualUpstream(), admin_keys=[ADMIN], pass_through=["/v1/files/*"]) as gateway,
    ):
        for path, item in (await described(gateway))["paths"].items():
            asked = re.sub(r"\{(\w+)\}", lambda match: FILLED.get(match[1], "x"), path)
            for method in sorted(methods(item)):
                if path in ("/v1/probe", "/admin/live") or (method == "head" and "get" in item):
                    continue  # a stream by itself
                answer = await gateway.ask(
                    method.upper(), asked, {} if method in ("post", "put") else None, BEARER
                )
                assert answer.status != 405, (method, path)
                code = answer.json["error"].get("code") if answer.status == 404 and answer.body else None
                assert code != "route-not-found" or path == "/v1/probe/{probe_id}", (method, path)
            refused = await gateway.ask("PATCH", asked, {}, BEARER)
            assert refused.status == 405, path


async def test_what_is_answered_is_what_is_described():
    jsonschema = pytest.importorskip("jsonschema")
    async with limit(), serving(ManualUpstream(), admin_keys=[ADMIN]) as gateway:
        told = await described(gateway)
        for method, path, name, body in [
            ("GET", "/healthz", "/healthz", None),
            ("GET", "/readyz", "/readyz", None),
            ("GET", "/v1/models", "/v1/models", None),
            ("GET", "/v1/models/none", "/v1/models/{model_id}", None),
            ("POST", "/v1/chat/completions", "/v1/chat/completions", {}),
            ("POST", "/v1/messages", "/v1/messages", {}),
            ("POST", "/admin/keys", "/admin/keys", {"name": "ci", "limits": {"running": 2}}),
            ("GET", "/admin/keys", "/admin/keys", None),
            ("GET", "/admin/keys/ci", "/admin/keys/{key}", None),
            ("POST", "/admin/keys/ci/rotate", "/admin/keys/{key}/rotate", {}),
            ("POST", "/admin/keys/ci/limits", "/admin/keys/{key}/limits", {"limits": None}),
            ("POST", "/admin/keys/ci/revoke", "/admin/keys/{key}/revoke", {"stop": True}),
            ("GET", "/admin/responses", "/admin/responses", None),
            ("POST", "/admin/reload", "/admin/reload", None),
            ("GET", "/v1/stream/none", "/v1/stream/{stream_id}", None),
        ]:
            answer = await gateway.ask(method, path, body, BEARER)
            responses = told["paths"][name][method.lower()]["responses"]
            assert str(answer.status) in responses, (path, answer.status)
            content = responses[str(answer.status)]["content"]
            schema = {**content["application/json"]["schema"], "components": told["components"]}
            jsonschema.Draft202012Validator(schema).validate(json.loads(answer.body))


def test_every_error_is_said_somewhere_with_its_status():
    told = document(operations({}))
    said = set()
    for item in told["paths"].values():
        for method in methods(item):
            for status, answer in item[method]["responses"].items():
                for code in re.findall(r"`([a-z-]+)`", answer["description"]):
                    if code in TABLE:
                        assert status == str(TABLE[code].status)
                        said.add(code)
    assert set(TABLE) - said == NOT_SAID
    assert {code for group in ERRORS.values() for code in group} <= set(TABLE)


def test_a_route_that_nobody_has_described_is_there_all_the_same():
    found = operations({"/new": (("GET",), "What it is for"), "/healthz": (("GET",), "")}, ["/v1/foo"])
    assert [one.path for one in found[len(OPERATIONS) :]] == ["/new", "/v1/foo"]
    assert document(found)["paths"]["/new"]["get"]["summary"] == "What it is for"


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags, self.ids = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.found += [value for name, value in attributes if name in {"href", "src"}]
        self.ids += [value for name, value in attributes if name == "id"]
        assert not any(name.startswith("on") or name == "style" for name, _ in attributes)


async def test_the_page_shows_all_of_it_with_nothing_from_elsewhere():
    async with limit(), serving(ManualUpstream()) as gateway:
        told = await described(gateway)
        answer = await gateway.ask("GET", "/docs")
        text = answer.body.decode()
        links = Links()
        links.feed(text)
        for path in told["paths"]:
            assert f"<code>{path}</code>" in text
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert not links.tags & {"script", "style", "iframe", "img"}
        assert len(set(links.ids)) == len(links.ids)
        for link in links.found:
            if link.startswith("#"):
                assert link[1:] in links.ids
            else:
                assert (await gateway.ask("GET", f"/{link}")).status == 200, link
        css = (await gateway.ask("GET", "/assets/docs.css")).body.decode()
        assert "light-dark(" in css
        assert "url(" not in css
        assert "@import" not in css
        assert (await gateway.ask("POST", "/docs", {})).status == 405
