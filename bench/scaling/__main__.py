"""`python -m bench.scaling` (`make bench-scale`): measure how costs grow, and write docs/scaling.md."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.scaling import curves, nodes, page, retained

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "scaling.md"
FIGURES: Final = Path(__file__).with_name("figures.json")
PARTS: Final = {
    "responses": curves.by_responses,
    "lengths": curves.by_length,
    "held": curves.by_held,
    "readers": curves.by_readers,
    "nodes": nodes.by_nodes,
    "retained": retained.by_retained,
    "housekeeping": nodes.housekeeping,
}


def main() -> int:
    """Measure what is asked for, keep the figures, and write the page from all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--only", help=f"measure only these, and keep the other figures: {', '.join(PARTS)}")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page again")
    asked = parser.parse_args()
    wanted = [] if asked.page else asked.only.split(",") if asked.only else list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in wanted:
        print(f"{name} …", flush=True)
        figures[name] = _plain(PARTS[name]())  # type: ignore[operator]
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text(), figures))
    for name, picture in pictures(figures).items():
        (PAGE.parent / "images" / f"scaling-{name}.svg").write_text(picture)
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def _plain(found: Any) -> Any:
    """Return figures as JSON has them: dictionaries with strings as names, and numbers that are short."""
    if hasattr(found, "_asdict"):
        return _plain(found._asdict())
    if isinstance(found, dict):
        return {str(name): _plain(value) for name, value in found.items()}
    return round(found, 3) if isinstance(found, float) else found


def pictures(figures: dict[str, Any]) -> dict[str, str]:
    """Return the curves that the page shows, by name."""
    named = {
        "responses": "responses at once",
        "lengths": "chunks of a response",
        "readers": "readers of a response",
    }
    return {name: page.curve(what, figures[name]) for name, what in named.items() if name in figures}


def written(text: str, figures: dict[str, Any]) -> str:
    """Return the page with the tables of these figures, and as it was where there are none."""
    tables: dict[str, Callable[[Any], str]] = {
        "responses": partial(page.costs, "responses"),
        "lengths": partial(page.costs, "chunks"),
        "held": page.held,
        "readers": partial(page.costs, "readers"),
        "nodes": page.shared,
        "retained": page.retained,
    }
    for name, table in tables.items():
        if name in figures:
            text = page.into(text, name, table(figures[name]))
    complete = {"lengths", "held", "nodes", "housekeeping"} <= figures.keys()
    return page.into(text, "simulated", page.simulated(figures)) if complete else text


if __name__ == "__main__":
    raise SystemExit(main())
