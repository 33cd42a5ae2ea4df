"""Upstreams that keep failing are set aside for a while, then probed by one response at a time."""

from __future__ import annotations

__all__ = ["Breaker"]


class Breaker:
    """A circuit breaker for each upstream name; time (seconds, any steady origin) is an argument.

    `threshold` failed attempts without a completed one between them open it for `pause` seconds, doubling up to
    `pause_max`. Then it is half open: one caller may try (`claim`), the others are still refused. The first content
    closes it again (`answers`), but only a completed attempt (`succeeded`) makes the failures forgotten: an upstream
    that cuts every answer in the middle is set aside too.
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
            self._open_until[name] = max(self._open_until[name], now + self._pause)

    def answers(self, name: str) -> None:
        """Let everybody try `name` again: it answers."""
        self._open_until.pop(name, None)

    def succeeded(self, name: str) -> None:
        """Forget the failures of `name`."""
        self._open_until.pop(name, None)
        self._failures.pop(name, None)

    def failed(self, name: str, now: float) -> None:
        """Count a failure of `name`, and set it aside when it has had too many."""
        count = self._failures.get(name, 0) + 1
        self._failures[name] = count
        if count >= self._threshold:
            pause = min(self._pause * 2 ** min(count - self._threshold, 16), self._pause_max)
            self._open_until[name] = now + pause
