"""Write the diagram of a response's states into docs/architecture.md, from the table of transitions."""  # noqa: INP001

from __future__ import annotations

import sys
from pathlib import Path

from everytoken.recovery.transitions import TRANSITIONS

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
BEGIN, END = "<!-- transitions -->", "<!-- /transitions -->"


def diagram() -> str:
    """Return the diagram (Mermaid, which GitHub draws) and the table."""
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, event), (after, _) in TRANSITIONS.items():
        edges.setdefault((state.name, after.name), []).append(event.value)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> BACKING_OFF"]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in edges.items()]
    lines += [
        "    ENDED --> [*]",
        "```",
        "",
        "| state | event | next state | decisions |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {state.value} | {event.value} | {after.value} | {', '.join(decisions) or '-'} |"
        for (state, event), (after, decisions) in TRANSITIONS.items()
    ]
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the diagram in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n{diagram()}\n{END}{behind}"


if __name__ == "__main__":
    told = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        sys.exit(page(told) != told)
    PAGE.write_text(page(told), encoding="utf-8")
