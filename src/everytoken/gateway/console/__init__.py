"""What the console shows: numbers over time, made of the request log, and what happens now, as a stream of events."""

from everytoken.gateway.console.console import CONSOLE, Console

__all__ = ["CONSOLE", "Console"]
