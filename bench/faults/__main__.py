"""Run the sixteen cases against each contender; print the table and write it into docs/recovery.md.

`python -m bench --setup` installs LiteLLM's proxy; without it its column is left out, and the page is not written.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from bench.faults.cases import CASES
from bench.faults.contenders import CONTENDERS, litellm
from bench.faults.scoring import Result, run
from bench.peers import python_of

if TYPE_CHECKING:
    from bench.faults.scoring import Contender

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


async def _main(here: dict[str, Contender]) -> None:
    runs = (asyncio.gather(*(run(case, contender) for case in CASES)) for contender in here.values())
    results: dict[str, list[Result]] = dict(zip(here, await asyncio.gather(*runs), strict=True))
    rows = [["fault of the primary", *here], ["---"] * (len(here) + 1)]
    rows += [[case.what, *(str(of[number]) for of in results.values())] for number, case in enumerate(CASES)]
    passes = [sum(result.verdict == "pass" for result in of) for of in results.values()]
    rows.append(["**passes**", *(f"**{count} of {len(CASES)}**" for count in passes)])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    print(table)
    if here.keys() == CONTENDERS.keys():
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}")


parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
parser.add_argument("--only", help="contenders, separated by commas; the page is not written")
only = parser.parse_args().only
chosen = {name: one for name, one in CONTENDERS.items() if only is None or name in only.split(",")}
if not chosen:
    parser.error(f"--only takes of: {', '.join(CONTENDERS)}")
if not Path(python_of("litellm")).with_name("litellm").exists():
    chosen = {name: one for name, one in chosen.items() if one is not litellm}
asyncio.run(_main(chosen))
