// Answers that are coming, of whatever conversation: each is read by one `Run`, whether it is shown or not. So nothing
// that is shown, closed or switched to stops an answer.

import { Answer, INTERRUPTED } from "./answer.js";
import { excessOf } from "./excess.js";
import { ThoughtClock } from "./rich/thinking.js";
import { slots } from "./slots.js";
import { arrived, change, heads, leave, read } from "./store.js";
import { request, unended } from "./tree.js";

const HISTORY_MS = 300; // what comes so soon after the connection has opened was written before
const READ = 3; // answers that are read though they are not shown: a browser has six connections for a server
const runs = new Map(); // id of the message -> Run

export class Run {
  /** The text so far, all of it. */
  text;
  reasoning;

  #conversation;
  #at; // how much of `text` this stream has brought or, before it, continued
  #thoughtAt = 0;
  #clock;
  #view = null;
  #state = "open";
  #opened = 0; // when the first connection was
  #answer;
  #ended;

  constructor(conversation, node, ended) {
    this.#conversation = conversation;
    this.#ended = ended;
    this.node = node;
    // What an earlier visit has seen is shown at once, and outlives an answer that the server has forgotten.
    this.text = node.content.startsWith(node.base) ? node.content : node.base;
    this.reasoning = node.reasoning ?? "";
    this.#at = node.base.length;
    this.#clock = new ThoughtClock(node, !node.stream);
    this.#answer = new Answer({
      text: (text) => this.#add(text),
      reasoning: (text) => this.#reason(text),
      chunk: (chunk) => {
        if (chunk.usage) node.usage = chunk.usage;
        slots.chunk(node, chunk);
      },
      connection: (state) => {
        this.#state = state;
        if (state === "open") this.#opened ||= Date.now();
        slots.connection(node, state);
        this.#view?.connection(state);
      },
      named: (id) => this.#named(id),
    });
    runs.set(node.id, this);
  }

  get conversation() {
    return this.#conversation;
  }

  /** Read the answer to its end, asking for it as long as it has no name. */
  async go(body) {
    const { node } = this;
    if (!node.stream) this.#opened = -Infinity; // it is asked here, so nothing of it was written before
    const started = node.stream ? this.#answer.follow(node.stream) : this.#answer.ask(body, node.key);
    const end = await started.catch((error) => {
      console.error(error);
      return { outcome: INTERRUPTED, message: "This page has failed. Please reload it.", finish: null, error: null };
    });
    if (runs.get(node.id) !== this) return; // left
    runs.delete(node.id);
    node.times.ended ??= Date.now();
    this.#clock.end();
    Object.assign(node, { outcome: end.outcome, reason: end.message, finish: end.finish, param: end.error?.param ?? null });
    Object.assign(node, { content: this.text, reasoning: this.reasoning });
    node.excess = end.outcome === INTERRUPTED && this.text === node.base ? excessOf(end.error, end.message) : null;
    this.keep(); // until it is stored: from here on nobody else does when the page is left
    this.#view?.end(node);
    this.#ended(this);
    await change(this.#conversation, (record) => this.#write(record)).catch((error) => console.error(error));
    arrived(node);
    slots.ended(this.#conversation, node, end.error);
  }

  /** Show it in `view`, from its beginning; null: no longer. */
  show(view) {
    this.#view = view;
    if (!view) return spare();
    if (this.reasoning) view.addReasoning(this.reasoning, this.node);
    view.add(this.text, this.node);
    if (this.#state !== "open") view.connection(this.#state);
  }

  get view() {
    return this.#view;
  }

  stop() {
    this.#view?.stopping();
    this.#answer.stop();
  }

  /** Stop reading; the answer itself goes on, and what has come is kept. */
  leave() {
    runs.delete(this.node.id);
    this.#answer.leave();
    this.keep();
  }

  /** Write down what has come, at once. */
  keep() {
    leave({ ...this.node, content: this.text, reasoning: this.reasoning });
  }

  // When the first text came; of an answer whose beginning nobody has seen, that is not known.
  #came() {
    if (this.node.times.first !== null || this.#opened === null) return;
    if (Date.now() - this.#opened >= HISTORY_MS) this.node.times.first = Date.now();
    else this.#opened = null;
  }

  // The stream is read from its start, so what has been seen of it comes again.
  #add(text) {
    this.#came();
    const known = text.slice(0, this.text.length - this.#at);
    const same = known === "" || this.text.startsWith(known, this.#at);
    this.#at += text.length;
    if (!same) {
      this.text = this.text.slice(0, this.#at - text.length) + text;
      this.#clock.text(this.text);
      this.#view?.restart(this.text);
    } else if (known !== text) {
      const fresh = text.slice(known.length);
      this.text += fresh;
      this.#clock.text(this.text);
      this.#view?.add(fresh);
    }
  }

  #reason(text) {
    this.#came();
    const fresh = text.slice(Math.max(0, this.reasoning.length - this.#thoughtAt));
    this.#thoughtAt += text.length;
    if (!fresh) return;
    this.reasoning += fresh;
    this.#clock.thought();
    this.#view?.addReasoning(fresh, this.node);
  }

  #named(id) {
    if (this.node.stream === id) return;
    this.node.stream = id;
    this.keep(); // what is stored in one step is there after a reload in this moment
    change(this.#conversation, (record) => this.#write(record)).catch((error) => console.error(error));
    spare();
  }

  // Unless another tab has continued this answer meanwhile.
  #write(record) {
    const stored = record.nodes[this.node.id];
    if (stored?.key === this.node.key && !(stored.outcome && !this.node.outcome)) {
      const first = this.node.times.first ?? stored.times?.first ?? null; // another tab may have seen it
      Object.assign(stored, this.node, { times: { ...this.node.times, first } });
    }
  }
}

/** The run of an answer, if there is one. */
export function runOf(node) {
  const run = runs.get(node.id);
  if (run && run.node.key !== node.key) {
    run.leave(); // it has been continued in another tab
    return null;
  }
  return run ?? null;
}

/** Read the answer `node` of a conversation; `ended(run)` is called when it has ended. */
export function start(record, node, ended) {
  const run = new Run(record.id, structuredClone(node), ended);
  run.go(request(record, node));
  return run;
}

/** Nobody looks any more at answers for which `isShown(run)` is false. */
export function look(isShown) {
  for (const run of [...runs.values()]) if (run.view && !isShown(run)) run.show(null);
}

// Leave the oldest of those that nobody looks at and that can be found again by name.
function spare() {
  const unseen = [...runs.values()].filter((run) => !run.view && run.node.stream);
  for (const run of unseen.slice(0, Math.max(0, unseen.length - READ))) run.leave();
}

/**
 * Read, one after the other, the answers that came to no end in this browser because their page was closed: while the
 * gateway still has them. `isShown(id)`: that conversation reads its own.
 */
export async function catchUp(isShown) {
  for (const { id } of (await heads()).filter(({ coming }) => coming)) {
    const record = isShown(id) ? null : await read(id);
    for (const node of record ? unended(record) : []) {
      if (!node.stream || runs.has(node.id) || isShown(id)) continue;
      await new Promise((resolve) => start(record, node, resolve));
    }
  }
}

addEventListener("pagehide", () => {
  for (const run of runs.values()) run.keep();
});
