// A message or a response in one piece, as the events that it would have been.

type Fields = Record<string, any>;

const list = (value: any): any[] => (Array.isArray(value) ? value : []);

/** The events that `value` would have been; undefined if it is neither a message nor a response that has ended. */
export function eventsIn(value: any): Fields[] | undefined {
  if (Array.isArray(value?.content) && value.stop_reason) return [...ofMessage(value)];
  const { status = "completed" } = value ?? {};
  if (/^(failed|cancelled)$/.test(status) && value.object === "response") return [{ type: "response.failed", response: value }];
  if (!Array.isArray(value?.output) || !/^(completed|incomplete)$/.test(status)) return;
  return [...ofResponse(value, status)].map((event, sequence_number) => ({ ...event, sequence_number }));
}

function* ofMessage({ stop_reason, stop_sequence = null, stop_details, container, usage, ...message }: Fields): Generator<Fields> {
  const begun = usage?.output_tokens === undefined ? usage : { ...usage, output_tokens: 0 };
  yield { type: "message_start", message: { ...message, content: [], stop_reason: null, stop_sequence: null, usage: begun } };
  for (const [index, block] of message.content.entries()) {
    const [content_block, deltas] = partsOf(block);
    yield { type: "content_block_start", index, content_block };
    for (const delta of deltas) yield { type: "content_block_delta", index, delta };
    yield { type: "content_block_stop", index };
  }
  yield { type: "message_delta", delta: { stop_reason, stop_sequence, stop_details, container }, usage };
  yield { type: "message_stop" };
}

// How a block begins, and what is added to it.
function partsOf(block: Fields): [Fields, Fields[]] {
  const { type, text, citations, thinking, signature, input } = block;
  if (type === "text") {
    const cited = list(citations).map((citation) => ({ type: "citations_delta", citation }));
    return [{ ...block, text: "", ...(citations && { citations: [] }) }, [...cited, { type: "text_delta", text }]];
  }
  if (type === "thinking") {
    const signed = signature ? [{ type: "signature_delta", signature }] : [];
    return [{ ...block, thinking: "", ...(signature && { signature: "" }) }, [{ type: "thinking_delta", thinking }, ...signed]];
  }
  if (/tool_use$/.test(type)) return [{ ...block, input: {} }, [{ type: "input_json_delta", partial_json: JSON.stringify(input) }]];
  return [block, []];
}

function* ofResponse(response: Fields, status: string): Generator<Fields> {
  const { usage: _, completed_at: __, incomplete_details: ___, ...begun } = { ...response, status: "in_progress", output: [] } as Fields;
  yield { type: "response.created", response: begun };
  yield { type: "response.in_progress", response: begun };
  for (const [output_index, item] of response.output.entries()) {
    const empty = { ...item, ...(item.status && { status: "in_progress" }) };
    const between = [...ofItem(item, empty, { item_id: item.id, output_index })];
    yield { type: "response.output_item.added", output_index, item: empty };
    yield* between;
    yield { type: "response.output_item.done", output_index, item };
  }
  yield { type: `response.${status}`, response };
}

// What comes between the beginning of an item, which is made `empty`, and its end.
function* ofItem(item: Fields, empty: Fields, where: Fields): Generator<Fields> {
  const [field, call] = ({ function_call: ["arguments", "function_call_arguments"], custom_tool_call: ["input", "custom_tool_call_input"] } as Fields)[item.type] ?? [];
  if (call) {
    empty[field] = "";
    yield { type: `response.${call}.delta`, ...where, delta: item[field] };
    yield { type: `response.${call}.done`, ...where, [field]: item[field] };
  }
  if (!/^(message|reasoning)$/.test(item.type)) return;
  for (const name of ["content", "summary"]) if (item[name]) empty[name] = [];
  for (const [summary_index, part] of list(item.summary).entries()) {
    const at = { ...where, summary_index };
    const { text } = part;
    yield { type: "response.reasoning_summary_part.added", ...at, part: { ...part, text: "" } };
    yield { type: "response.reasoning_summary_text.delta", ...at, delta: text };
    yield { type: "response.reasoning_summary_text.done", ...at, text };
    yield { type: "response.reasoning_summary_part.done", ...at, part };
  }
  for (const [content_index, part] of list(item.content).entries()) {
    const at = { ...where, content_index };
    const field = part.type === "refusal" ? "refusal" : "text";
    const name = `response.${part.type}`;
    const logprobs = part.type === "output_text" ? { logprobs: part.logprobs ?? [] } : {};
    const isMessage = item.type === "message"; // the text of reasoning has no parts around it
    if (isMessage) yield { type: "response.content_part.added", ...at, part: { ...part, [field]: "", ...(part.annotations && { annotations: [] }) } };
    yield { type: `${name}.delta`, ...at, delta: part[field], ...logprobs };
    for (const [annotation_index, annotation] of list(part.annotations).entries()) {
      yield { type: "response.output_text.annotation.added", ...at, annotation_index, annotation };
    }
    yield { type: `${name}.done`, ...at, [field]: part[field], ...logprobs };
    if (isMessage) yield { type: "response.content_part.done", ...at, part };
  }
}
