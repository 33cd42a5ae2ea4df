// A diagram, drawn from its source by Mermaid when the reader asks for it. Mermaid builds markup from strings, which this page's
// policy refuses; so it runs in a frame with a policy of its own, which reaches nothing (see pages/__init__.py).

const FRAME = new URL("../diagram/index.html", import.meta.url);
const LIMIT_MS = 20_000; // to load the library and to draw
const HIGHEST = 4000; // pixels; a picture that is higher scrolls
const MISSING = "The diagram library could not be loaded. Press “Draw” to try again.";
// The library's names -> the page's. It derives the others, some of them badly.
const COLOURS = {
  background: "code",
  primaryColor: "mine",
  primaryTextColor: "ink",
  primaryBorderColor: "soft",
  secondaryColor: "code",
  tertiaryColor: "paper",
  lineColor: "soft",
  textColor: "ink",
  edgeLabelBackground: "code",
  clusterBkg: "paper",
  clusterBorder: "line",
  noteBkgColor: "paper",
  noteTextColor: "ink",
  noteBorderColor: "soft",
  taskBkgColor: "mine",
  taskTextColor: "ink",
  taskTextDarkColor: "ink",
  taskTextOutsideColor: "ink",
  taskBorderColor: "soft",
  activeTaskBkgColor: "paper",
  doneTaskBkgColor: "line",
  sectionBkgColor: "code",
  altSectionBkgColor: "code",
  gridColor: "line",
  pieSectionTextColor: "paper",
  pieStrokeColor: "code",
  pieOuterStrokeColor: "soft",
  commitLabelColor: "ink",
  commitLabelBackground: "code",
  tagLabelColor: "ink",
  tagLabelBackground: "mine",
};
const SERIES = ["accent", "code-name", "code-string", "code-number", "code-keyword", "code-type"]; // of a pie, of branches
SERIES.forEach((colour, at) => {
  COLOURS[`pie${at + 1}`] = COLOURS[`git${at}`] = colour;
  COLOURS[`gitBranchLabel${at}`] = "paper";
});

const views = new WeakMap(); // frame -> its view

export class DiagramView {
  element = document.createElement("div");

  #source;
  #failed;
  #frame = null;
  #timer = 0;
  #removed = false;

  /** Draw `source`. If that fails, show why instead, and call `failed`. */
  constructor(source, failed) {
    this.#source = source;
    this.#failed = failed;
    this.element.className = "diagram";
    this.element.setAttribute("aria-busy", "true");
    // A frame does not tell that its server is away.
    fetch(FRAME, { method: "HEAD" }).then(
      ({ ok }) => (ok ? this.draw() : this.#fail(MISSING)),
      () => this.#fail(MISSING),
    );
  }

  remove() {
    this.#removed = true;
    clearTimeout(this.#timer);
    this.element.remove();
  }

  /** Draw it anew: the library takes its colours only once. */
  draw() {
    if (this.#removed) return;
    const frame = document.createElement("iframe");
    views.set(frame, this);
    frame.title = `Diagram: ${firstLine(this.#source)}`;
    frame.sandbox = "allow-scripts";
    frame.src = FRAME;
    if (this.#frame) frame.style.height = this.#frame.style.height;
    this.#frame = frame;
    this.element.setAttribute("aria-busy", "true");
    this.element.replaceChildren(frame);
    this.#wait();
  }

  /** What the frame tells. */
  told({ ready, missing, wrong, height }) {
    if (missing) return this.#fail(MISSING);
    if (wrong) return this.#fail(`This diagram cannot be drawn: ${firstLine(wrong).replace(/:$/, "")}`);
    if (ready) {
      this.#wait(); // also where the frame has been moved, and so begins anew
      return this.#frame.contentWindow.postMessage({ source: this.#source, look: look(this.element) }, "*");
    }
    if (!(height > 0)) return;
    clearTimeout(this.#timer);
    this.#frame.style.height = `${Math.min(height, HIGHEST)}px`;
    this.element.removeAttribute("aria-busy");
    this.#grown();
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fail("This diagram takes too long to draw."), LIMIT_MS);
  }

  #fail(words) {
    if (this.#removed) return;
    clearTimeout(this.#timer);
    this.#frame = null;
    const said = document.createElement("p");
    said.setAttribute("role", "alert");
    said.textContent = words;
    this.element.removeAttribute("aria-busy");
    this.element.replaceChildren(said);
    this.#failed();
    this.#grown();
  }

  #grown() {
    this.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }
}

const frames = () => document.querySelectorAll(".diagram > iframe");

addEventListener("message", ({ source, data }) => {
  for (const frame of frames()) if (frame.contentWindow === source) views.get(frame)?.told(Object(data));
});

function drawAll() {
  for (const frame of frames()) views.get(frame)?.draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });

const firstLine = (text) => `${text}`.trim().split("\n", 1)[0].slice(0, 200);

// The page's own colours and letters.
function look(place) {
  const probe = document.createElement("span");
  place.append(probe);
  const colours = {};
  for (const [name, variable] of Object.entries(COLOURS)) {
    probe.style.color = `var(--${variable})`;
    colours[name] = getComputedStyle(probe).color;
  }
  const { fontFamily, colorScheme } = getComputedStyle(probe);
  probe.remove();
  const dark = colorScheme === "dark" || (colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  return { dark, font: fontFamily, size: "15px", colours };
}
