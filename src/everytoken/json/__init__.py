"""JSON from outside: read whatever RFC 8259 allows, within bounds that everything behind it can store."""

from everytoken.json.text import dumps, join_surrogates, loads

__all__ = ["dumps", "join_surrogates", "loads"]
