"""Upstreams that keep failing are set aside for a while, then probed by one response at a time."""

from __future__ import annotations

__all__ = ["Breaker", "Circuit"]

Circuit = tuple[str, str]
"""An upstream's name and a model."""

_MAX_CIRCUITS = 4096  # callers choose the names of models


class Breaker:
    """A circuit breaker for each upstream and model; time (seconds, any steady origin) is an argument.

    `threshold` failed attempts without a completed one between them open it for `pause` seconds, doubling up to
    `pause_max`. Then it is half open: one caller may try (`claim`), the others are still refused. The first content
    closes it again (`answers`), but only a completed attempt (`succeeded`) makes the failures forgotten: an upstream
    that cuts every response in the middle is set aside too.
    """

    def __init__(self, *, threshold: int = 3, pause: float = 5.0, pause_max: float = 20.0) -> None:
        self._threshold = threshold
        self._pause = pause
        self._pause_max = pause_max
        self._failures: dict[Circuit, int] = {}
        self._open_until: dict[Circuit, float] = {}

    def allows(self, circuit: Circuit, now: float) -> bool:
        """Whether `circuit` may be tried now."""
        return now >= self._open_until.get(circuit, now)

    def claim(self, circuit: Circuit, now: float) -> None:
        """Record a try; when half open, keep the others away until it has ended or a pause has passed."""
        if circuit in self._open_until:
            self._open_until[circuit] = max(self._open_until[circuit], now + self._pause)

    def answers(self, circuit: Circuit) -> None:
        """Let everybody try `circuit` again: it answers."""
        self._open_until.pop(circuit, None)

    def succeeded(self, circuit: Circuit) -> None:
        """Forget the failures of `circuit`."""
        self._open_until.pop(circuit, None)
        self._failures.pop(circuit, None)

    def failed(self, circuit: Circuit, now: float) -> None:
        """Count a failure of `circuit`, and set it aside when it has had too many."""
        if len(self._failures) >= _MAX_CIRCUITS and circuit not in self._failures:
            self.succeeded(next(iter(self._failures)))
        count = self._failures.get(circuit, 0) + 1
        self._failures[circuit] = count
        if count >= self._threshold:
            pause = min(self._pause * 2 ** min(count - self._threshold, 16), self._pause_max)
            self._open_until[circuit] = now + pause

    def waiting(self) -> list[Circuit]:
        """Return the circuits that were opened and have not answered since: open ones, and those that may be probed."""
        return list(self._open_until)

    def state(self, now: float) -> dict[Circuit, float]:
        """Return the circuits that are open, and for how many more seconds."""
        return {circuit: until - now for circuit, until in self._open_until.items() if until > now}
