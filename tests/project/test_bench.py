"""The benchmark's arithmetic and its checker of contents, on given numbers; nothing is timed here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench import beginnings, overload
from bench.chunks import DONE, Checker, Order, Rendered, read_order, request_body
from bench.durability import Durability
from bench.durability import markdown as durability_markdown
from bench.measure import descendants, parse_pss_kib, parse_stat, total_us
from bench.page import into
from bench.relaying import CALM, DIRECT, FEW, LONG, MANY, SHORT, Results, Run, choose
from bench.report import markdown, meaning, other_apis, with_the_rest
from bench.scaling import page as scaling_page
from bench.scaling.__main__ import FIGURES as KEPT_FIGURES
from bench.scaling.__main__ import PAGE as SCALING
from bench.scaling.__main__ import written
from bench.scaling.simulator import Measured, Site, carried, needs
from bench.seams import KINDS, Found
from bench.seams import TITLE as RECOVERY
from bench.seams import markdown as seams_markdown
from bench.stacks import STACKS
from bench.stats import Spread, quantile, ratios

import everytoken


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([3.0, 1.0, 2.0], Spread(2.0, 1.0, 3.0), id="of three the middle one"),
        pytest.param([1.0, 4.0], Spread(2.5, 1.0, 4.0), id="of two the mean"),
        pytest.param([None, 7.0], Spread(7.0, 7.0, 7.0), id="what was not measured does not count"),
        pytest.param([None], None, id="nothing measured has no median"),
    ],
)
def test_spread(values, expected):
    assert Spread.of(values) == expected


def test_a_spread_without_width_is_one_number():
    assert Spread(2.0, 2.0, 2.0).text() == "2.0"
    assert Spread(2.0, 1.0, 3.25).text(2) == "2.00 (1.00–3.25)"


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_quantile_is_the_least_value_that_the_share_does_not_exceed(share, expected):
    assert quantile(range(100, 0, -1), share) == expected


def test_quantile_of_nothing_is_nought():
    assert quantile([], 0.5) == 0


def test_ratios_are_taken_within_a_repetition():
    assert ratios([20.0, 60.0, None], [10.0, 20.0, 5.0]) == [2.0, 3.0]


def test_stat_fields_are_found_behind_a_name_with_spaces_and_brackets():
    text = "42 (a) b) c) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 5 0 100"
    assert parse_stat(text) == (7, 77)


def test_pss_is_not_mistaken_for_its_parts():
    assert parse_pss_kib("0-f ---p [rollup]\nRss: 900 kB\nPss:   123 kB\nPss_Dirty: 5 kB\n") == 123
    with pytest.raises(ValueError, match="no Pss"):
        parse_pss_kib("Rss: 1 kB\n")


def test_the_tree_holds_grandchildren_and_no_strangers():
    assert descendants(2, {1: 0, 2: 1, 3: 2, 4: 3, 5: 1, 6: 2}) == [2, 3, 6, 4]


def test_cpu_time_of_a_child_that_ends_moves_but_is_not_lost():
    running = total_us([5_000_000, 30_000_000], reaped_ticks=0, ticks_per_second=100)
    reaped = total_us([5_000_000], reaped_ticks=3, ticks_per_second=100)
    assert running == reaped == 35_000


def body(response: int, numbers: list[int], *, end: bool = True) -> bytes:
    rendered = Rendered(response)
    framed = [rendered.chunk(number, 1000 + number) for number in numbers]
    events = [frame.split(b"\r\n")[1] for frame in framed]
    finish = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    return b"".join(events) + (finish + DONE if end else b"")


def check(data: bytes, pieces: int = 1) -> Checker:
    checker = Checker(Order(3, 4, 20, hold=False))
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        checker.receive_data(data[start : start + size])
    checker.receive_eof()
    return checker


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_an_exact_response_has_no_errors_however_it_is_cut(pieces):
    checker = check(body(3, [0, 1, 2, 3]), pieces)
    assert checker.errors == []
    assert checker.received == 4


def test_a_relay_that_writes_its_own_json_is_read_too():
    spaced = body(3, [0, 1, 2, 3]).replace(b'":"', b'": "')
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    assert check(role + spaced).errors == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(body(3, [0, 1, 3]), id="a lost chunk"),
        pytest.param(body(3, [0, 1, 1, 2, 3]), id="a doubled chunk"),
        pytest.param(body(3, [0, 2, 1, 3]), id="chunks out of order"),
        pytest.param(body(4, [0, 1, 2, 3]), id="another response's chunks"),
        pytest.param(body(3, [0, 1, 2, 3], end=False), id="no ending"),
        pytest.param(body(3, [0, 1, 2, 3]) + DONE, id="two endings"),
        pytest.param(body(3, [0, 1, 2, 3]).replace(b" n00002", b" n0002"), id="damaged content"),
    ],
)
def test_what_is_not_as_it_was_sent_is_an_error(data):
    assert check(data).errors


def test_the_sending_times_come_back():
    assert Checker(Order(3, 4, 20, hold=False)).receive_data(body(3, [0, 1])) == [1000, 1001]


def test_an_order_survives_the_request():
    order = Order(12, 100, 20, hold=True)
    assert read_order(request_body(order)) == order
    assert json.loads(request_body(order))["stream"] is True


def run(cpu: float, held: float) -> Run:
    return Run(300, 30_000, 3.0, 1.0, 0.5, 2.0, 0, [], cpu, 10.0, held)


def test_the_meaning_compares_with_the_floor_and_the_limits():
    results = Results(
        {("nginx", MANY.name): [run(10.0, 1.0)] * 3, ("everytoken", MANY.name): [run(25.0, 40.0)] * 3}
    )
    said = meaning(results)
    assert "costs 2.5 times" in said
    assert "within our limit of 3" in said
    assert "over our limit of 30" in said


def test_a_peer_measured_with_fewer_responses_is_said_to_be():
    names = ("nginx", "everytoken", "sglang-router")
    runs = {(name, point.name): [run(10.0, 1.0)] for name in names for point in (MANY, FEW)}
    runs["LiteLLM proxy", FEW.name] = [run(500.0, 400.0)]
    said = meaning(Results(runs))
    assert "(in the same run: LiteLLM proxy 50.0× with 20 responses, sglang-router 1.0×)" in said


def test_a_stack_that_did_not_run_is_named_with_the_reason():
    results = Results(
        {(DIRECT, MANY.name): [run(0.0, 0.0)]}, {"LiteLLM proxy": "cannot be installed: why not"}
    )
    page = markdown(results, list(STACKS), None, 1, 1.0)
    assert "Skipped: cannot be installed: why not" in page
    assert "everytoken could not be measured" in page


def test_two_lengths_tell_a_chunk_from_beginning_and_ending():
    def of(name: str, chunk: float, ends: float) -> dict[tuple[str, str], list[Run]]:
        points = {point: [run(chunk + ends / point.chunks, 1.0)] * 3 for point in (MANY, SHORT, LONG)}
        return {(name, point.name): runs for point, runs in points.items()}

    results = Results(of("everytoken", 50.0, 1000.0) | of("everytoken, Messages", 51.0, 3000.0))
    section = other_apis(results, STACKS)
    first, second = [line for line in section.splitlines() if line.startswith("| everytoken, Messages")]
    assert first == "| everytoken, Messages | 81.0 | – | 1.35 | yes |"
    assert second == "| everytoken, Messages | 51.0 | 1.02 | 3000 |"


def test_a_journals_delay_is_taken_against_memory_within_a_repetition():
    def late(ms: float) -> Run:
        return Run(300, 30_000, 3.0, 1.0, ms, 4 * ms, 0, [], 10.0)

    results = Results(
        {
            ("everytoken", CALM.name): [late(1.0), late(5.0)],
            ("everytoken, SQLite", CALM.name): [late(1.5), late(5.5)],
        }
    )
    found = Durability([2.0, 1.0, 9.0], [600.0, 700.0, 500.0], [400.0, 450.0, 350.0], 44.4)
    row = durability_markdown(results, {"SQLite": found}, {}).splitlines()[-1]
    assert row == "| SQLite | 2.0, p99 9.0 | 600 (500–700) [start 400] | 44 | 0.50 | 2.00 | – | – |"


def test_a_journal_that_was_not_measured_is_named_with_the_reason():
    page = durability_markdown(Results(), {}, {"Redis": "redis-server is not installed"})
    assert "| Redis | skipped: redis-server is not installed |" in page


def test_a_recovery_is_told_by_its_gap_and_what_it_cost():
    found = {kind.name: Found([float(gap) for gap in range(1, 100)], 200, 1) for kind in KINDS}
    section = seams_markdown(found)
    assert "| prefill | the same upstream continues the text | 100 | 99 | 50 | 99 | 2.00 |" in section
    assert len([line for line in section.splitlines() if line.startswith("| ")]) == len(KINDS) + 1


def test_the_section_on_recovery_is_put_into_the_page_and_replaced_there():
    page = "# Benchmarks\n\n## Durability\n\nd\n\n## SSE decoding\n\ns\n"
    once = into(page, RECOVERY, "## Recovery\n\nold")
    assert once == "# Benchmarks\n\n## Durability\n\nd\n\n## Recovery\n\nold\n\n## SSE decoding\n\ns\n"
    assert into(once, RECOVERY, "## Recovery\n\nnew") == once.replace("old", "new")


def test_every_stack_can_be_asked_for_by_itself():
    assert [stack.name for stack in choose(["everytoken-redis"], quick=False)] == ["everytoken, Redis"]


def test_overload_is_one_section_of_the_page():
    found = [(0.8, overload.Found(8, 8, 8, 0, 0, (1.0, 2.0), (0.5, 1.0), (0.0, 0.0)))]
    section = overload.markdown(found)
    assert section.splitlines()[-1] == "| 0.8 x | 8 | 8 | 8 | 0 | 0 | 0.5 (1.0) | 1.0 (2.0) | 0.0 (0.0) |"
    page = "# Page\n\n## SSE decoding\n\nx\n"
    once = into(page, overload.TITLE, section)
    assert once == f"# Page\n\n{section}\n\n## SSE decoding\n\nx\n"
    assert into(once, overload.TITLE, section) == once


def test_a_new_page_keeps_what_is_measured_by_itself_and_says_that_it_is_older():
    new = "# Page\n\nnew\n\n## SSE decoding\n\nx\n"
    old = "# Page\n\nold\n\n## Overload\n\na\n\n## Operation\n\nb\n\n## SSE decoding\n\ny\n"
    page = with_the_rest(new, old)
    assert page.startswith("# Page\n\nnew\n\n## Overload\n\n_From an earlier run")
    assert page.endswith("b\n\n## SSE decoding\n\nx\n")
    assert page.count("_From an earlier run") == 2
    assert with_the_rest(page, page) == with_the_rest(new, page) == page
    assert with_the_rest(new, "") == new


# Scaling

FIGURES = Measured(
    chunk_us=50.0,
    response_us=1000.0,
    open_kib=32.0,
    redis_us=10.0,
    look_us=0.6,
    told_us=15.0,
    entry_bytes=260.0,
    sealed_bytes=49.0,
)


def needed(**changes):
    return {need.name: need.used for need in needs(FIGURES, Site(**changes))}


def test_what_a_site_needs_is_added_up():
    one = needed(groups=1, nodes=1, cores=1, masters=1, responses=100, rate=20.0, chunks=500)
    assert one["CPU of the nodes: chunks"] == pytest.approx(100 * 20 * 50 / 0.7e6)
    assert one["CPU of the nodes: beginnings and ends"] == pytest.approx(4 * 1000 / 0.7e6)
    assert one["CPU of Redis: chunks"] == pytest.approx(100 * 20 * 10 / 0.7e6)
    assert one["memory of Redis: open responses"] == pytest.approx(100 * 250 * 260 / (64 * 2**30))


def test_groups_share_a_site_and_the_scarcest_resource_is_the_first():
    assert needed(groups=100, responses=1_000_000)["CPU of Redis: chunks"] == pytest.approx(
        needed(groups=1, responses=10_000)["CPU of Redis: chunks"]
    )
    used = [need.used for need in needs(FIGURES, Site())]
    assert used == sorted(used, reverse=True)


def test_masters_beyond_the_partitions_do_nothing():
    assert needed(masters=24)["CPU of Redis: chunks"] == needed(masters=12)["CPU of Redis: chunks"]


def test_looking_for_others_grows_with_the_workers_and_no_faster():
    name = "CPU of Redis: nodes that look for others"
    assert needed(nodes=40)[name] == pytest.approx(10 * needed(nodes=4)[name])


def test_a_site_carries_what_its_scarcest_resource_allows():
    site = Site()
    most = replace(site, responses=round(carried(FIGURES, site)))
    assert max(need.used for need in needs(FIGURES, most) if not need.of_nodes) == pytest.approx(
        1.0, rel=1e-3
    )


def test_the_page_on_scaling_is_written_from_the_figures_that_are_kept():
    """If this fails: python -m bench.scaling --page."""
    text = SCALING.read_text("utf-8")
    assert written(text, json.loads(KEPT_FIGURES.read_text())) == text


def test_a_page_without_a_place_is_refused():
    with pytest.raises(ValueError, match="no place for nodes"):
        scaling_page.into("nothing", "nodes", "a table")


def frames(*paths):
    """A stack whose innermost frame is the first: frames of code in files of these paths."""
    frame = None
    for path in reversed(paths):
        frame = SimpleNamespace(f_code=SimpleNamespace(co_filename=path), f_back=frame)
    return frame


@pytest.mark.parametrize(
    ("paths", "part"),
    [
        (["gateway/server.py"], "the reader's connection (uvicorn)"),
        (["gateway/metrics/recorder.py", "relay/events.py"], "metrics, request log, prices"),
        (["journal/sqlite.py", "relay/response.py"], "the journal"),
        (["upstream/http.py"], "the upstream's connection"),
        (["dialects/openai_chat/reader.py", "recovery/live.py"], "the recovery machine"),
        (["relay/response.py"], "the relay"),
        (["gateway/http.py"], "the request, and sending it to its reader"),
    ],
)
def test_a_sample_belongs_to_the_innermost_of_our_code(paths, part):
    ours = [f"{Path(everytoken.__file__).parent}/{path}" for path in paths]
    assert beginnings.part_of(frames("/lib/python3/re.py", *ours)) == part


def test_a_sample_without_our_code_is_uvicorns_or_the_loops():
    uvicorn = "/lib/site-packages/uvicorn/protocols/http/httptools_impl.py"
    assert beginnings.part_of(frames(uvicorn, "/lib/asyncio/runners.py")) == next(iter(beginnings.PARTS))
    cli = f"{Path(everytoken.__file__).parent}/cli/serve.py"
    assert beginnings.part_of(frames("/lib/asyncio/runners.py", cli)) == beginnings.LOOP
    assert beginnings.part_of(None) == beginnings.LOOP


def test_the_costs_of_beginnings_are_listed_by_part():
    run = Run(400, 400, 1.0, 1.0, 0.0, 0.0, 0, [], 100.0)
    results = Results({("nginx", "brief"): [run], ("everytoken", "brief"): [replace(run, cpu_us=500.0)]})
    section = beginnings.markdown(results, {"everytoken": {"the journal": 25, beginnings.LOOP: 75}})
    assert section.startswith("## Beginnings and ends\n")
    assert "| everytoken | 500 | 5.00 |" in section
    assert "| the journal | 125 (25%) |" in section
    assert "| the event loop | 375 (75%) |" in section
    assert section.count("\n\n") == 4
