// What a refusal says when a conversation is longer than the model can read. Servers agree on neither code nor words, so
// both are looked at, and the numbers are taken from wherever they stand.

const CODES = /context.?length|context.?size|context.?window|string.?above.?max|request.?too.?large|payload.?too.?large/i;
const WORDS = [
  /context (?:length|window|size|limit)/i,
  /(?:prompt|input|inputs?`? tokens|conversation|messages?|request(?: body)?)\b[^.]{0,60}?\b(?:is |are |was )?too (?:long|large|many)\b(?! to\b)/i,
  /string too long|range of input length/i,
  /longer than the (?:model|maximum)[^.]{0,30}length/i,
  /too many (?:input |prompt )?tokens/i,
  /maximum (?:prompt|input|sequence|context) length/i,
  /(?:input|prompt)[^.]{0,40}tokens?[^.]{0,80}exceeds?/i,
  /exceed(?:s|ed)?[^.]{0,60}(?:context|token limit|max(?:imum)?[^.]{0,20} tokens)/i,
  /reduce the length of (?:the|your) (?:messages|prompt|input)/i,
  /`inputs` tokens/,
];
// Too much in a minute, or too long an answer wished for, is something else.
const OTHERS = /per (?:min|minute|day|hour)\b|rate.?limit|quota|max_(?:completion_|output_)?tokens is too large|completion tokens, whereas/i;

const NUMBER = String.raw`(\d[\d,_]*)`;
const LIMITS = [
  String.raw`(?:maximum|max|limit|allowed|context size|context length)[^\d>]{0,60}?` + NUMBER,
  NUMBER + String.raw`(?: tokens?)? (?:maximum|limit)`,
  String.raw`(?:cannot exceed|at most|up to|<=?|only) ?` + NUMBER,
  String.raw`> ?` + NUMBER,
].map((pattern) => new RegExp(pattern, "i"));
const SUM = /(\d[\d,_]*) \+ (\d[\d,_]*) > (\d[\d,_]*)/;
const ANY = /(?<![\w.-])\d[\d,_]*(?![\w.-]*[a-z])/gi;

/** {over, given, limit, unit} of an error that says so, each number null if it is not known; null for any other error. */
export function excessOf(error, message = error?.message) {
  const words = [message, error?.message].filter((one) => typeof one === "string").join(" ");
  const codes = [error?.code, error?.type, error?.param].filter((one) => typeof one === "string").join(" ");
  if (OTHERS.test(words) || /rate.?limit|quota/i.test(codes)) return null;
  if (!CODES.test(codes) && !WORDS.some((pattern) => pattern.test(words))) return null;
  const unit = /token/i.test(words) || !/string|character|byte|body/i.test(words) ? "tokens" : /byte|body/i.test(words) ? "bytes" : "characters";
  const told = numbers(error, error?.message ?? message ?? "");
  if (told.given === null && !/token|character|byte/i.test(words)) told.limit = null; // it may be a status
  const known = told.given !== null && told.limit !== null && told.given > told.limit;
  return { over: known ? told.given - told.limit : null, given: known ? told.given : null, limit: told.limit, unit };
}

function numbers(error, words) {
  const limit = number(error?.n_ctx) ?? first(words);
  const given = number(error?.n_prompt_tokens);
  if (given !== null) return { given, limit };
  const sum = SUM.exec(words);
  if (sum) return { given: read(sum[1]) + read(sum[2]), limit: read(sum[3]) };
  const larger = limit === null ? [] : (words.match(ANY) ?? []).map(read).filter((one) => one > limit);
  return { given: larger.length ? Math.max(...larger) : null, limit };
}

function first(words) {
  for (const pattern of LIMITS) {
    const found = pattern.exec(words);
    if (found) return read(found[1]);
  }
  return null;
}

const read = (digits) => Number(digits.replace(/[,_]/g, ""));
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** In words, by how much; null where that is not known, and the server's own words say more. */
export function sayExcess({ over, given, limit, unit }) {
  if (over === null) return null;
  const words = (count) => count.toLocaleString("en");
  const by = over === 1 ? `1 ${unit.slice(0, -1)}` : `${words(over)} ${unit}`;
  return `Too long for the model by ${by}: it has ${words(given)}, and ${words(limit)} fit.`;
}
