"""Run every fuzzer for a few seconds; a longer run is `python tests/fuzz/NAME.py -max_total_time=SECONDS`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parents[1]
FUZZERS = sorted((TESTS / "fuzz").glob("fuzz_*.py"))
SEEDS = {"fuzz_sse": TESTS.parent / "spec" / "cases" / "sse.yaml"}
SECONDS = 3

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris has no wheel for this platform: fuzzers not run",
)


def seed(corpus: Path, table: Path) -> None:
    """Fill `corpus` with the inputs of `table`."""
    for number, case in enumerate(yaml.safe_load(table.read_text(encoding="utf-8"))):
        data = bytes.fromhex(case["hex"]) if "hex" in case else case["input"].encode()
        # Behind the input stands what the fuzzer takes its numbers from.
        (corpus / str(number)).write_bytes(data + bytes(range(0, 80, 10)))


@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda path: path.stem)
def test_a_short_run_of_a_fuzzer_finds_nothing(fuzzer: Path, tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    if fuzzer.stem in SEEDS:
        seed(corpus, SEEDS[fuzzer.stem])
    run = subprocess.run(
        [sys.executable, str(fuzzer), f"-max_total_time={SECONDS}", "-seed=1", "-max_len=400", str(corpus)],
        cwd=tmp_path,  # a finding is written into the working directory
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Done" in run.stderr, "the fuzzer has not run to its end"
