"""A further upstream of a client: where else the same request may be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import httpx2
import msgspec

if TYPE_CHECKING:
    from everytoken.translation.registry import ApiName

__all__ = ["Upstream"]


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A model server that a client asks where the one of the request fails.

    `url`: its base URL, up to and with `/v1`. `api`: the API it is asked in, None for that of the request. `api_key`: sent as
    its API has it; nothing of the caller's own credentials goes there. `model`: what it calls the model, None for the request's own name. `prefill`: whether it continues an
    assistant message that comes last (`auto`: only once it has shown so). `headers`: sent with every request to it.
    Raises `ValueError` for a URL that is none.
    """

    url: str
    api_key: str = ""
    api: ApiName | None = None
    model: str | None = None
    prefill: Literal["yes", "no", "auto"] = "auto"
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        try:
            url = httpx2.URL(self.url)
        except (httpx2.InvalidURL, TypeError) as error:
            raise ValueError(f"url must be a URL, not {self.url!r}") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"url must begin with http:// or https:// and a host, not {self.url!r}")
