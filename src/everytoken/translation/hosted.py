"""Tools that a provider runs itself, such as a web search, where the upstream is another provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.translation.request import NeutralRequest

__all__ = ["HOSTED", "refuse_hosted_only", "refuse_unknown_choice"]

HOSTED: Final = (
    "the provider runs it itself; refused where it is the only tool, or where `tool_choice` names it"
)


def refuse_hosted_only(request: NeutralRequest, hosted: Sequence[str]) -> None:
    """Refuse a request whose only tools are `hosted`, paths of tools that are left out: the answer depends on them.

    An agent offers a search beside its own tools with every request, and is of use without it.
    """
    if hosted and not request.tools:
        raise InvalidRequestError(
            f"'{hosted[0]}' cannot be translated: the provider of the API runs this tool itself",
            param=hosted[0],
        )


def refuse_unknown_choice(request: NeutralRequest, *, left_out: bool) -> None:
    """Refuse a choice of tools that were left out; without any, the upstream is left to check the names."""
    names = {tool.name for tool in request.tools}
    if left_out and not names.issuperset(request.allowed):
        raise InvalidRequestError(
            "'tool_choice' names a tool that cannot be translated: the provider of the API runs it itself",
            param="tool_choice",
        )
