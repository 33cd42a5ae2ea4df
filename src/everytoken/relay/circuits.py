"""The circuit breaker of a process, which tells observers when a circuit opens or closes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from everytoken.observer import CircuitClosed, CircuitOpened
from everytoken.recovery import Breaker

if TYPE_CHECKING:
    from everytoken.observer import Observers
    from everytoken.recovery.breaker import Circuit

__all__ = ["ObservedBreaker"]


class ObservedBreaker(Breaker):
    """A breaker with observers. They are told once when an upstream is set aside, and once when it is back."""

    def __init__(self, observers: Observers, *, threshold: int, pause: float, pause_max: float) -> None:
        super().__init__(threshold=threshold, pause=pause, pause_max=pause_max)
        self._observers = observers

    def failed(self, circuit: Circuit, now: float) -> None:
        """Count a failure; tell if that opens the circuit."""
        before = circuit in self._open_until
        super().failed(circuit, now)
        until = self._open_until.get(circuit)
        if until is not None and not before:
            upstream, model = circuit
            self._observers.tell(
                CircuitOpened(at=time.time(), upstream=upstream, model=model, seconds=until - now)
            )

    def answers(self, circuit: Circuit) -> None:
        """Close the circuit: it answers."""
        self._close(circuit)
        super().answers(circuit)

    def succeeded(self, circuit: Circuit) -> None:
        """Close the circuit, and forget its failures."""
        self._close(circuit)
        super().succeeded(circuit)

    def _close(self, circuit: Circuit) -> None:
        if circuit in self._open_until:
            upstream, model = circuit
            self._observers.tell(CircuitClosed(at=time.time(), upstream=upstream, model=model))
