// Read one stream many times with a browser's EventSource, each time through a connection that is cut somewhere else.
// What comes in and goes out is that of ../conformance/resume.mjs.

import { launchBrowser } from "./harness.mjs";

const AT_ONCE = 5; // a browser opens six connections to a host

let input = "";
for await (const piece of process.stdin) input += piece;
const { url, text, cuts } = JSON.parse(input);

const browser = await launchBrowser();
try {
  const page = await browser.newPage();
  await page.goto(new URL("/healthz", url).href);
  const wrong = await page.evaluate(readAll, { url, text, cuts, atOnce: AT_ONCE });
  console.log(JSON.stringify(wrong));
} finally {
  await browser.close();
}

/** Runs in the page. */
async function readAll({ url, text, cuts, atOnce }) {
  const read = (cut, number) =>
    new Promise((resolve) => {
      let got = "";
      const source = new EventSource(`${url}?cut=${cut}-chromium${number}`);
      source.onmessage = ({ data }) => {
        if (data !== "[DONE]") got += JSON.parse(data).choices[0].delta.content ?? "";
      };
      // It comes back by itself, until it is told that there is nothing left.
      source.onerror = () => source.readyState === EventSource.CLOSED && resolve(got);
    });
  const wrong = [];
  const waiting = cuts.map((cut, number) => [cut, number]);
  const work = async () => {
    for (let next; (next = waiting.shift()); ) {
      const got = await read(...next);
      if (got !== text) wrong.push({ cut: next[0], got });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return wrong;
}
