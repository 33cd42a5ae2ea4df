"""Who is on the path: proxies tell it in headers, and in the page with which they refuse what is no HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NAMES", "identify", "is_gateway", "named", "subject"]

NAMES: Final = {
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "caddy": "Caddy",
    "nextjs": "Next.js",
    "cloudflare": "Cloudflare",
    "cloudfront": "CloudFront",
    "alb": "AWS load balancer",
    "traefik": "Traefik",
    "envoy": "Envoy",
    "apache": "Apache",
    "fastly": "Fastly",
    "vercel": "Vercel",
}
"""The products that are known here, and what they are called."""

# A header, and what has to be in it.
_HEADERS: Final = (
    ("server", r"cloudflare", "cloudflare"),
    ("cf-ray", r".", "cloudflare"),
    ("server", r"cloudfront", "cloudfront"),
    ("via", r"cloudfront", "cloudfront"),
    ("x-amz-cf-id", r".", "cloudfront"),
    ("server", r"awselb", "alb"),
    ("x-vercel-id", r".", "vercel"),
    ("server", r"vercel", "vercel"),
    ("x-served-by", r"^cache-", "fastly"),
    ("server", r"nginx|openresty|tengine", "nginx"),
    ("server", r"\bcaddy\b", "caddy"),
    ("via", r"\bcaddy\b", "caddy"),
    ("server", r"haproxy", "haproxy"),
    ("via", r"haproxy", "haproxy"),
    ("via", r"nginx", "nginx"),
    ("server", r"envoy", "envoy"),
    ("x-envoy-upstream-service-time", r".", "envoy"),
    ("server", r"apache", "apache"),
    ("via", r"apache", "apache"),
    ("x-powered-by", r"next\.js", "nextjs"),
    ("x-nextjs-cache", r".", "nextjs"),
)
# Pages with which a product refuses something.
_PAGES: Final = (
    (r"<center>(?:nginx|openresty)", "nginx"),
    (r"<html><body><h1>\d{3} [\w -]+</h1>\n", "haproxy"),
    (r"<center>cloudflare</center>", "cloudflare"),
    (r"<address>Apache", "apache"),
    (r"/_next/static/", "nextjs"),
)
_OURS: Final = re.compile(r'"code":\s*"invalid-request"')


def identify(headers: Iterable[Mapping[str, str]], pages: Iterable[str]) -> tuple[str, ...]:
    """Return the products that answers show, by their headers (names in lower case) and their pages."""
    found: dict[str, None] = {}
    for named in headers:
        for name, pattern, product in _HEADERS:
            if re.search(pattern, named.get(name, ""), re.IGNORECASE):
                found[product] = None
    for page in pages:
        for pattern, product in _PAGES:
            if re.search(pattern, page):
                found[product] = None
    return tuple(found)


def is_gateway(refusal: str) -> bool:
    """Whether what was refused as no HTTP was refused by the gateway itself, so that there is nothing in between."""
    return _OURS.search(refusal) is not None


def named(products: Iterable[str]) -> str:
    """Return products as words, "a proxy on the way" for none."""
    names = [NAMES[product] for product in products]
    return " or ".join(names) if names else "a proxy on the way"


def subject(products: Iterable[str]) -> str:
    """Return products as words that begin a sentence."""
    words = named(products)
    return words[:1].upper() + words[1:] if words.startswith("a ") else words
