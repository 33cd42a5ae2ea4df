"""`python -m bench.scaling` (`make bench-scale`): measure how costs grow, and write docs/scaling.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from bench.scaling import curves, nodes, page, retained

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "scaling.md"
FIGURES: Final = Path(__file__).with_name("figures.json")
PARTS: Final = {
    "responses": curves.by_responses,
    "lengths": curves.by_length,
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
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def _plain(found: Any) -> Any:
    """Return figures as JSON has them: dictionaries with strings as names, and numbers that are short."""
    if hasattr(found, "_asdict"):
        return _plain(found._asdict())
    if isinstance(found, dict):
        return {str(name): _plain(value) for name, value in found.items()}
    return round(found, 3) if isinstance(found, float) else found


def written(text: str, figures: dict[str, Any]) -> str:
    """Return the page with the tables of these figures."""
    text = page.into(text, "responses", page.costs("responses", figures["responses"]))
    text = page.into(text, "lengths", page.costs("chunks", figures["lengths"], memory=True))
    text = page.into(text, "readers", page.costs("readers", figures["readers"]))
    text = page.into(text, "nodes", page.shared(figures["nodes"]))
    text = page.into(text, "retained", page.retained(figures["retained"]))
    return page.into(text, "simulated", page.simulated(figures))


if __name__ == "__main__":
    raise SystemExit(main())
