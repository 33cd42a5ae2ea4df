// Server-Sent Events, WHATWG HTML section 9.2.6, for text that arrives in arbitrary pieces.

export class SSEDecoder {
  #rest = ""; // the unfinished line
  #swallowLf = false; // the last piece ended in CR: an LF that opens the next one belongs to it
  #data = [];
  #id = "";

  /** Take decoded text (BOM already removed) and return the events that became complete: {data, id}. */
  feed(text) {
    if (text === "") return [];
    if (this.#swallowLf && text[0] === "\n") text = text.slice(1);
    const events = [];
    const lineEnd = /\r\n|\n|\r/g;
    let start = 0;
    for (let end; (end = lineEnd.exec(text)); start = lineEnd.lastIndex) {
      const line = this.#rest + text.slice(start, end.index);
      this.#rest = "";
      this.#line(line, events);
    }
    this.#rest += text.slice(start);
    // A CR at the end of a read ends its line at once; waiting for an LF would hold the event back.
    this.#swallowLf = text !== "" ? text.endsWith("\r") : false;
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data.length) events.push({ data: this.#data.join("\n"), id: this.#id });
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }
}
