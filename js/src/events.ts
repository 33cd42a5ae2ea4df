// A response of typed events, as Messages and Responses send it, told once more by another attempt: what of it is new.
// What an event says is compared at its place, text as text and anything else as a whole. Ids and numbers stay those that
// were delivered first: another attempt has others for the same answer.

import { ENDS, errorIn, isTyped } from "./chunk.js";
import { diverged, truncated } from "./errors.js";
import type { Sent, Told } from "./recover.js";
import { eventsIn } from "./whole.js";

const IDENTITY = /^((item_|call_|tool_use_|response_)?id|created_at|encrypted_content)$/;
const NO_CONTENT = /^(logprobs|obfuscation|sequence_number)$/;
const HEAD = /^(message_start|response\.(created|queued|in_progress))$/;
const FRAME = /(start|stop|added|done)$/; // opens or closes a place for what readers wait for
const FAILED = /^(response\.)?(failed|cancelled)$/;
const CALL = /tool_use$|^(function|custom_tool)_call$/;

/** What has been delivered of a response, and how much of it has come again. */
export class Events {
  begun = false;
  plain = true;
  readonly continued = false;
  readonly typed = true;
  takes = isTyped;
  eventsIn = eventsIn;
  #said: Record<string, string> = {};
  #ids: Record<string, any> = {};
  #length = 0; // of all that was said
  #number: number | undefined; // of the last event
  #id = "";
  #repeats = false;
  // Of one attempt:
  #again: Record<string, number> = {};
  #left = 0; // of all that was said, what has not come again
  #names: Record<string, any> = {}; // its ids, and what a reader knows them as
  #calls: Record<string, string> = {}; // the tool calls that are under way
  #held: Sent[] = [];
  #reason = false;

  /** `kept`: another attempt gives the events behind a number, and there is nothing to compare. */
  constructor(readonly kept = false) {}

  next() {
    if (this.kept) return;
    this.#repeats = this.begun;
    if (!this.begun) {
      // Nobody has seen any of it.
      this.#said = {};
      this.#ids = {};
      this.#length = 0;
    }
    this.#again = {};
    this.#left = this.#length;
    this.#names = {};
    this.#calls = {};
    this.#held = [];
    this.#reason = false;
  }

  /** Where to ask for the rest of a response that is kept. */
  where(asked: URL, posted: boolean): string | undefined {
    if (!this.kept || this.#number == null) return;
    const url = new URL(asked);
    if (posted) url.pathname += `/${this.#id}`;
    url.searchParams.set("stream", "true");
    url.searchParams.set("starting_after", `${this.#number}`);
    return url.href;
  }

  /** Take an event, as sent. Throws `upstream-diverged`, `upstream-truncated`, or the failure that it tells of. */
  add(value: any, data: string, event?: string): Told {
    const { type, delta, response } = value;
    if ([type, response?.status].some((word) => FAILED.test(word))) {
      throw errorIn({ error: response?.error ?? { message: type } });
    }
    const number = value.sequence_number;
    if (this.kept && number <= this.#number!) return { out: [] };
    if (this.kept && number == null) {
      // Nobody could say where to go on.
      this.begun = true;
      this.plain = false;
    }
    if (type === "message_delta") {
      // Nobody is shown a stop_reason of a message that is cut behind it.
      this.#reason ||= !!delta?.stop_reason;
      this.#held.push({ data, event });
      return { out: [] };
    }
    const { index = value.output_index } = value;
    const item = value.content_block ?? value.item;
    if (/(start|added)$/.test(type) && CALL.test(item?.type)) this.#calls[index] = item.id;
    if (/(block_stop|item\.done)$/.test(type)) delete this.#calls[index];
    const ends = ENDS.test(type);
    const head = HEAD.test(type);
    const field = typeof delta === "string" ? "delta" : ["text", "thinking", "partial_json"].find((name) => typeof delta?.[name] === "string");
    const holder = field === "delta" ? value : delta;
    const place = head ? type : type + [index, value.content_index, value.summary_index, field];
    const said = (this.#said[place] ??= "");
    const from = (this.#again[place] ??= 0);
    const content = this.#content(value, head || ends ? "" : field ? place : place + from);
    const text: string = head ? "\n" : ends ? "" : field ? holder[field] : JSON.stringify(content) + "\n";
    const known = Math.min(text.length, said.length - from);
    if (!head) this.#left -= known;
    if (!said.startsWith(text.slice(0, known), from) || (this.#left && !head && (ends || known < text.length))) throw diverged();
    // Half a call must never be run.
    const half = () => Object.values(this.#calls).some((id) => !JSON.stringify(response?.output)?.includes(id));
    if (ends && (response ? /completed/.test(type) && half() : !this.#reason || half())) throw truncated();
    this.#again[place] = from + text.length;
    this.#said[place] += text.slice(known);
    if (!head) this.#length += text.length - known;
    const fresh = !!text && !head && (!!field || !FRAME.test(type));
    this.begun ||= fresh;
    if (value.logprobs?.length && !this.kept) this.plain = false;
    if (!this.#repeats) {
      this.#number = number ?? this.#number;
      this.#id ||= response?.id;
      this.#held.push({ data, event });
    } else if (ends || known < text.length) {
      if (field) holder[field] = text.slice(known);
      if (known && value.logprobs) value.logprobs = [];
      delete value.obfuscation;
      if (number != null) value.sequence_number = this.#number = (this.#number ?? -1) + 1;
      this.#held.push({ data: JSON.stringify(value), event });
    }
    return { fresh, ends, out: this.begun || ends ? this.#held.splice(0) : [] };
  }

  // What an event says, without identity, without what cannot be compared or is empty. Its ids become those delivered.
  #content(value: any, path: string): any {
    if (typeof value !== "object" || !value) return value;
    const found: any = Array.isArray(value) ? [] : {};
    const { id } = value;
    for (const name of Object.keys(value).sort()) {
      const item = value[name];
      const at = `${path}.${name}`;
      if (IDENTITY.test(name)) {
        if (!item) continue;
        const known = this.#names[item] ?? this.#ids[at];
        // What is encrypted belongs to the id that it was made with.
        if (name[0] === "e" && !known && (this.#names[id] ?? this.#ids[path + ".id"] ?? id) !== id) throw diverged();
        value[name] = this.#names[item] = this.#ids[at] = known ?? item;
      } else if (!NO_CONTENT.test(name)) {
        const part = this.#content(item, at);
        if (part != null && part !== "" && (typeof part !== "object" || Object.keys(part).length)) found[name] = part;
      }
    }
    return found;
  }
}
