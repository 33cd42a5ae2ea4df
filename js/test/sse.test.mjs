// The decoder, by the table that every implementation shares: spec/cases/sse.yaml.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { SSEDecoder } from "everytoken";
import fc from "fast-check";
import { parse } from "yaml";

const CASES = parse(readFileSync(new URL("../../spec/cases/sse.yaml", import.meta.url), "utf8"));
const utf8 = new TextEncoder();
const EMPTY = new Uint8Array();
const THREE_WAY_BYTES = 64;

const bytesOf = (item) => (item.hex ? Uint8Array.from(item.hex.split(" "), (byte) => parseInt(byte, 16)) : utf8.encode(item.input));

function decoderOf({ limits }) {
  return limits ? new SSEDecoder({ maxLine: limits.line, maxEvent: limits.event }) : new SSEDecoder();
}

function outcome(decoder, reads) {
  const events = [];
  let error = null;
  try {
    for (const read of reads) for (const event of decoder.receive(read)) events.push(event);
  } catch (failure) {
    error = failure.code ?? failure;
  }
  return { events, lastEventId: decoder.lastEventId, retry: decoder.retry, error };
}

function* splits(data) {
  const cuts = (...at) => [0, ...at].map((from, i) => data.subarray(from, [...at, data.length][i]));
  const all = [[data], cuts(...Array.from(data.keys()).slice(1))];
  for (let i = 1; i < data.length; i++) all.push(cuts(i));
  for (const reads of all) {
    yield reads;
    yield [...reads.flatMap((read) => [EMPTY, read]), EMPTY];
  }
  if (data.length > THREE_WAY_BYTES) return;
  for (let a = 0; a <= data.length; a++) for (let b = a; b <= data.length; b++) yield cuts(a, b);
}

const expected = (item) => ({
  events: item.events.map((event) => ({ event: "message", data: "", id: "", retry: null, ...event })),
  lastEventId: item.last_event_id ?? "",
  retry: item.retry ?? null,
  error: item.error ?? null,
});

test("the table is there", () => {
  assert.ok(new Set(CASES.map(({ name }) => name)).size === CASES.length && CASES.length > 60);
});

describe("a case is the same for every split", () => {
  for (const item of CASES) {
    test(item.name, () => {
      const data = bytesOf(item);
      const wanted = JSON.stringify(expected(item));
      for (const reads of splits(data)) {
        const found = outcome(decoderOf(item), reads);
        if (JSON.stringify(found) !== wanted) assert.deepEqual(found, expected(item), reads.map((read) => read.length).join("+"));
      }
    });
  }
});

// The standard's own words, over a whole document at once.
function decodeDocument(data) {
  let text = new TextDecoder("utf-8").decode(data); // which drops one BOM
  const events = [];
  let [event, lines, pending, id, retry] = ["", [], "", "", null];
  const parts = text.split(/\r\n|\n|\r/);
  parts.pop(); // an unfinished line
  for (const line of parts) {
    if (line === "") {
      id = pending;
      if (lines.length) events.push({ event: event || "message", data: lines.join("\n"), id, retry });
      [event, lines] = ["", []];
      continue;
    }
    const [, field, value = ""] = /^([^:]*)(?:: ?([^]*))?$/.exec(line);
    if (field === "data") lines.push(value);
    else if (field === "event") event = value;
    else if (field === "id" && !value.includes("\0")) pending = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) retry = Math.min(Number(value), Number.MAX_SAFE_INTEGER);
  }
  return { events, lastEventId: id, retry, error: null };
}

test("the reference agrees with the table", () => {
  for (const item of CASES.filter(({ limits }) => !limits)) assert.deepEqual(decodeDocument(bytesOf(item)), expected(item), item.name);
});

const LINE = fc.constantFrom(
  "data", "data:", "data: a", "data:b", "data:  c", "data: é世界😀", "data: \u2028\u0085\v", "event: e", "event:", "id: 1", "id:2", "id",
  "id: \0", "retry: 3", "retry: -5", "retry: 1_0", "retry: 99999999999999999999", ":", ": comment", "x: y", "\ufeff", "\ufeffdata: f", " ", "data: a\nid: 7",
);
const END = fc.constantFrom("\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", "");
const PIECE = fc.oneof(fc.tuple(LINE, END).map(([line, end]) => utf8.encode(line + end)), fc.uint8Array({ maxLength: 6 }));
const DOCUMENT = fc.array(PIECE, { maxLength: 14 }).map((pieces) => Uint8Array.from(pieces.flatMap((piece) => [...piece])));

test("any document in any reads is what the standard says", () => {
  fc.assert(
    fc.property(DOCUMENT, fc.array(fc.nat(90), { maxLength: 6 }), (data, cuts) => {
      const at = cuts.map((cut) => Math.min(cut, data.length)).sort((a, b) => a - b);
      const reads = [0, ...at].map((from, i) => data.subarray(from, [...at, data.length][i]));
      assert.deepEqual(outcome(new SSEDecoder(), reads), decodeDocument(data));
    }),
    { numRuns: 1500, seed: 1 },
  );
});

test("an event is out with its last byte, and is never taken back", () => {
  fc.assert(
    fc.property(DOCUMENT, (data) => {
      const decoder = new SSEDecoder();
      const events = [];
      for (let end = 1; end <= data.length; end++) {
        events.push(...decoder.receive(data.subarray(end - 1, end)));
        assert.deepEqual(events, decodeDocument(data.subarray(0, end)).events);
      }
    }),
    { numRuns: 150, seed: 2 },
  );
});

test("a long line in small reads is copied once and decoded once", (t) => {
  let moved = 0;
  const { set } = Object.getPrototypeOf(Uint8Array.prototype);
  t.mock.method(Object.getPrototypeOf(Uint8Array.prototype), "set", function (from, at) {
    moved += from.length;
    return set.call(this, from, at);
  });
  const { decode } = TextDecoder.prototype;
  t.mock.method(TextDecoder.prototype, "decode", function (bytes) {
    moved += bytes.length;
    return decode.call(this, bytes);
  });
  const read = new Uint8Array(16).fill(97);
  const decoder = new SSEDecoder();
  for (let i = 0; i < 1e6; i += 16) for (const _ of decoder.receive(read));
  for (const _ of decoder.receive(utf8.encode("\n\n")));
  assert.equal(moved, 2e6); // were the line joined anew with each read, it would be thousands of times as much
});
