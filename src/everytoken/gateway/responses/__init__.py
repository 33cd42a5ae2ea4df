"""OpenAI's Responses API: what is asked for is answered as chat completions are, and kept in the journal to be asked about."""

from everytoken.gateway.responses.creating import create
from everytoken.gateway.responses.routes import PREFIX, serve

__all__ = ["PREFIX", "create", "serve"]
