"""Upstreams that keep failing are set aside for a while, then probed by one response at a time."""

from __future__ import annotations

__all__ = ["Breaker"]


class Breaker:
    """A circuit breaker for each upstream name; time (seconds, any steady origin) is an argument.

    `threshold` failures in a row open it for `pause` seconds, doubling up to `pause_max`. Then it is half open: one
    caller may try (`claim`), the others are still refused; a success closes it, a failure opens it again.
    """

    def __init__(self, *, threshold: int = 3, pause: float = 5.0, pause_max: float = 60.0) -> None:
        self._threshold = threshold
        self._pause = pause
        self._pause_max = pause_max
        self._failures: dict[str, int] = {}
        self._open_until: dict[str, float] = {}

    def allows(self, name: str, now: float) -> bool:
        """Whether `name` may be tried now."""
        return now >= self._open_until.get(name, now)

    def claim(self, name: str, now: float) -> None:
        """Take note of a try; when half open, keep the others away until it has ended or a pause has passed."""
        if name in self._open_until:
            self._open_until[name] = now + self._pause

    def succeeded(self, name: str) -> None:
        """Close the breaker of `name`."""
        self._failures.pop(name, None)
        self._open_until.pop(name, None)

    def failed(self, name: str, now: float) -> None:
        """Count a failure of `name`, and set it aside when it has had too many."""
        count = self._failures.get(name, 0) + 1
        self._failures[name] = count
        if count >= self._threshold:
            pause = min(self._pause * 2 ** min(count - self._threshold, 16), self._pause_max)
            self._open_until[name] = now + pause

    def open_until(self, name: str, now: float) -> float | None:
        """Until when `name` is set aside, or None when it is not."""
        until = self._open_until.get(name)
        return until if until is not None and until > now else None
