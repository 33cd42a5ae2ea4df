// Where other parts of the page hook in. Each does nothing until app.js gives it something to do. The places in
// index.html: #header-slot, #prompt-slot (beside the prompt), #above-prompt (above it); and `.figures` under each answer.

export const slots = {
  /** What a request has beside its messages, for a new answer: {model, system, temperature …}. */
  asked: (record) => ({ model: "default" }),
  /** The content of a new question: its text, or a list of parts. `null`: there is nothing to send. */
  content: (text) => (text.trim() === "" ? null : text),
  /** The question has been taken: the prompt is empty again. */
  taken: () => {},
  /** Put the content of a question into its element. */
  question: (element, content) => {},
  /** Put something under an answer that has ended: `place` is its `.figures`. */
  answer: (place, node, record) => {},
  /** A chunk of an answer has come; `node` is stored when it has ended. */
  chunk: (node, chunk) => {},
  /** Another conversation is shown, or the one that is shown has changed. */
  shown: (record) => {},
};
