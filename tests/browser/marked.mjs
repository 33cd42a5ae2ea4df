// A Markdown library that knows CommonMark and nothing else: the chat page's, as its package has it.

export { marked } from "../../src/everytoken/gateway/pages/vendor/marked.js";
