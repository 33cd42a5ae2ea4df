"""Who may call: API keys, what each may do, and where those are kept that were made while the gateway ran."""

from everytoken.gateway.keys.book import KeyBook
from everytoken.gateway.keys.key import Key

__all__ = ["Key", "KeyBook"]
