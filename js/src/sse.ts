// Server-Sent Events, WHATWG HTML section 9.2.6. Bytes in, events out, for any split of the bytes into reads.

import { EverytokenError } from "./errors.js";

/** `id` is the last event ID and `retry` (milliseconds) the reconnection time in force when the event was complete. */
export interface ServerSentEvent {
  event: string;
  data: string;
  id: string;
  retry: number | null;
}

const LF = 10;
const CR = 13;
const MAX_BYTES = 16 * 1024 * 1024;
const BOM = "\uFEFF";

/** Decodes one stream. A line, or the data of an event, of more than its limit in bytes is an `event-too-large`. */
export class SSEDecoder {
  lastEventId = "";
  retry: number | null = null;
  #maxLine;
  #maxEvent;
  #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  #first = true;
  #afterCr = false;
  #held: Uint8Array[] = []; // the unfinished line
  #heldBytes = 0;
  #id = ""; // of the unfinished event
  #event = "";
  #data: string[] = [];
  #dataBytes = 0;

  constructor({ maxLine = MAX_BYTES, maxEvent = MAX_BYTES } = {}) {
    this.#maxLine = maxLine;
    this.#maxEvent = maxEvent;
  }

  /** Take a read and give the events that it completes. An event is out with its last byte. */
  *receive(read: Uint8Array): Generator<ServerSentEvent, void, undefined> {
    let start = 0;
    for (let i = 0; i < read.length; i++) {
      const byte = read[i];
      if (byte !== LF && byte !== CR) continue;
      // A CR ends its line at once; waiting for an LF that may follow would hold an event back.
      if (byte === CR || !(i ? read[i - 1] === CR : this.#afterCr)) {
        const event = this.#line(this.#take(read.subarray(start, i)));
        if (event) yield event;
      }
      start = i + 1;
    }
    if (read.length) this.#afterCr = read[read.length - 1] === CR;
    if (start < read.length) this.#hold(read.subarray(start));
  }

  #hold(bytes: Uint8Array) {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > this.#maxLine) tooLarge("a line", this.#maxLine);
  }

  // The line that ends with `bytes`. It is decoded whole, so no split can fall into a character.
  #take(bytes: Uint8Array): Uint8Array {
    this.#hold(bytes);
    let line = bytes;
    if (this.#held.length > 1) {
      line = new Uint8Array(this.#heldBytes);
      let at = 0;
      for (const piece of this.#held) {
        line.set(piece, at);
        at += piece.length;
      }
    }
    this.#held = [];
    this.#heldBytes = 0;
    return line;
  }

  #line(bytes: Uint8Array): ServerSentEvent | undefined {
    let line = this.#utf8.decode(bytes);
    if (this.#first && line.startsWith(BOM)) line = line.slice(1);
    this.#first = false;
    if (!line) return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    const space = value.startsWith(" ");
    if (space) value = value.slice(1);
    if (field === "data") {
      // Counted in bytes, with the LF that joins the lines; what stands before the value is ASCII.
      this.#dataBytes += Math.max(0, bytes.length - 5 - +space) + +(this.#data.length > 0);
      this.#data.push(value);
      if (this.#dataBytes > this.#maxEvent) tooLarge("an event", this.#maxEvent);
    } else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Math.min(+value, Number.MAX_SAFE_INTEGER);
    return;
  }

  #dispatch(): ServerSentEvent | undefined {
    const id = (this.lastEventId = this.#id);
    const lines = this.#data;
    const event = this.#event || "message";
    this.#event = "";
    this.#data = [];
    this.#dataBytes = 0;
    return lines.length ? { event, data: lines.join("\n"), id, retry: this.retry } : undefined;
  }
}

function tooLarge(what: string, limit: number): never {
  throw new EverytokenError("event-too-large", `${what} of more than ${limit} bytes`);
}
