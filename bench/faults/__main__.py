"""Run the sixteen cases against each contender; print the table and write it into docs/recovery.md."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.faults.cases import CASES
from bench.faults.contenders import CONTENDERS
from bench.faults.scoring import Result, run

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


async def _main() -> None:
    runs = (asyncio.gather(*(run(case, contender) for case in CASES)) for contender in CONTENDERS.values())
    results: dict[str, list[Result]] = dict(zip(CONTENDERS, await asyncio.gather(*runs), strict=True))
    rows = [["fault of the primary", *CONTENDERS], ["---"] * (len(CONTENDERS) + 1)]
    rows += [[case.what, *(str(of[number]) for of in results.values())] for number, case in enumerate(CASES)]
    passes = [sum(result.verdict == "pass" for result in of) for of in results.values()]
    rows.append(["**passes**", *(f"**{count} of {len(CASES)}**" for count in passes)])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    print(table)
    if PAGE.exists():
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}")


asyncio.run(_main())
