"""Who is on the path, by what answers and refusals show."""

from __future__ import annotations

import pytest

from everytoken.cli.doctor.products import identify, is_gateway, named, subject

HAPROXY = "HTTP/1.1 400 Bad request\r\n\r\n<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>\n"
NGINX = (
    "<html>\r\n<center><h1>400 Bad Request</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</html>\r\n"
)


@pytest.mark.parametrize(
    ("headers", "pages", "products"),
    [
        pytest.param([{}], [""], (), id="nobody"),
        pytest.param([{"server": "nginx/1.27"}], [], ("nginx",), id="nginx"),
        pytest.param([{"server": "Caddy"}], [], ("caddy",), id="Caddy"),
        pytest.param(
            [{"via": "1.1 Caddy", "server": "nginx"}], [], ("nginx", "caddy"), id="Caddy before nginx"
        ),
        pytest.param([{"x-powered-by": "Next.js"}], [], ("nextjs",), id="Next.js"),
        pytest.param([{"server": "cloudflare", "cf-ray": "8f"}], [], ("cloudflare",), id="Cloudflare"),
        pytest.param(
            [{"x-amz-cf-id": "x", "via": "1.1 abc.cloudfront.net"}], [], ("cloudfront",), id="CloudFront"
        ),
        pytest.param([{}], [HAPROXY], ("haproxy",), id="HAProxy's page"),
        pytest.param([{}], [NGINX], ("nginx",), id="nginx's page"),
        pytest.param([{"server": "cloudflare"}, {"server": "nginx"}], [], ("cloudflare", "nginx"), id="two"),
        pytest.param([{"server": "uvicorn"}], ["<html>hello</html>"], (), id="others"),
    ],
)
def test_identify(headers, pages, products):
    assert identify(headers, pages) == products


def test_words():
    assert named([]) == "a proxy on the way"
    assert subject([]) == "A proxy on the way"
    assert subject(["nginx", "caddy"]) == "nginx or Caddy"


def test_the_gateways_own_refusal():
    assert is_gateway('HTTP/1.1 400 Bad Request\r\n\r\n{"error":{"code":"invalid-request"}}')
    assert not is_gateway(NGINX)
