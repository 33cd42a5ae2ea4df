"""Which upstream is asked first. What happens when it fails is the planner's business."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.recovery.policy import LearnedCapabilities, Target

__all__ = ["Route", "Router", "conversation_of"]

Route = Literal["order", "fastest", "weighted", "cheapest"]

_TYPICAL = 100  # tokens of a response for which speeds are compared
_BETTER = 0.8  # of the time of the one in use: what is not clearly faster is no reason to change
_EXPLORE = 0.02  # of all responses go to an upstream that was measured longest ago
_STALE = 20.0  # seconds after which a measurement is worth repeating
_CONVERSATIONS = 10_000  # whose upstream is remembered


class Router:
    """Orders the upstreams for a response. Pure: the time (seconds) and chance (from 0 to 1) are arguments.

    `order`: as listed. `fastest`: by what responses have shown of the time to the first token and of tokens per second,
    with a few responses to the others, so that a change is noticed. `weighted`: by chance, in proportion to `weight`.
    `cheapest`: by `cost`. Whatever the rule, a conversation stays at the upstream that has its prompt in a cache, as long
    as that one is well.
    """

    def __init__(self, route: Route = "order") -> None:
        self.route: Route = route
        self._homes: OrderedDict[tuple[str, str], str] = OrderedDict()  # of conversations, by model
        self._favourites: dict[str, str] = {}  # by model

    def order(
        self,
        targets: Sequence[Target],
        *,
        model: str,
        conversation: str,
        now: float,
        chance: float,
        learned: Callable[[Target], LearnedCapabilities],
        is_well: Callable[[Target], bool],
    ) -> list[Target]:
        """Return `targets`, the one to be asked first in front."""
        found = list(targets)
        if len(found) < 2 or self.route == "order":
            return found
        key = (model, conversation)
        home = self._homes.get(key)
        if self.route == "cheapest":
            found.sort(key=lambda target: target.cost)
        elif self.route == "weighted":
            _first(found, _drawn(found, chance))
        else:
            well = [target for target in found if is_well(target)] or found
            _first(found, self._fastest(well, model, now, chance, learned))
        found.sort(key=lambda target: not is_well(target))
        at_home = next((target for target in found if target.name == home and is_well(target)), None)
        if conversation and at_home is not None:
            _first(found, at_home)
        if conversation:
            self._homes[key] = found[0].name
            self._homes.move_to_end(key)
            if len(self._homes) > _CONVERSATIONS:
                self._homes.popitem(last=False)
        return found

    def _fastest(
        self,
        targets: Sequence[Target],
        model: str,
        now: float,
        chance: float,
        learned: Callable[[Target], LearnedCapabilities],
    ) -> Target:
        unknown = next((target for target in targets if learned(target).first_token is None), None)
        if unknown is not None:
            return unknown
        oldest = min(targets, key=lambda target: learned(target).measured)
        if chance < _EXPLORE and now - learned(oldest).measured > _STALE:
            return oldest
        times = {target.name: _time(learned(target)) for target in targets}
        best = min(targets, key=lambda target: times[target.name])
        current = next((target for target in targets if target.name == self._favourites.get(model)), best)
        chosen = best if times[best.name] < _BETTER * times[current.name] else current
        if len(self._favourites) >= _CONVERSATIONS:
            self._favourites.clear()  # callers choose the names of models
        self._favourites[model] = chosen.name
        return chosen


def conversation_of(messages: Any) -> str:
    """Return what the turns of a conversation have in common: its beginning, up to the first message of the user."""
    begin: list[Any] = []
    for message in messages if isinstance(messages, list) else ():
        begin.append(message)
        if isinstance(message, dict) and message.get("role") == "user":
            break
    return hashlib.sha256(repr(begin).encode("utf-8", "surrogatepass")).hexdigest()[:32] if begin else ""


def _time(learned: LearnedCapabilities) -> float:
    return (learned.first_token or 0.0) + (_TYPICAL / learned.rate if learned.rate else 0.0)


def _drawn(targets: Sequence[Target], chance: float) -> Target:
    left = chance * sum(target.weight for target in targets)
    for target in targets:
        left -= target.weight
        if left < 0:
            return target
    return targets[-1]


def _first(targets: list[Target], target: Target) -> None:
    targets.remove(target)
    targets.insert(0, target)
