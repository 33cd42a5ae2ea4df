// Images beside a question: pasted, dropped or chosen, made smaller here, and sent as parts of the message.

import { button, el } from "./elements.js";

const MOST = 10; // images in a question
const SIDE = 1568; // CSS pixels: more is scaled down by the models themselves
const PLAIN_BYTES = 1_000_000; // what is smaller, and of a kind that every model takes, stays as it is
const KINDS = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]);
const QUALITY = 0.87;

/** The size that an image gets: {width, height}, no side longer than `most`, and never larger than it is. */
export function fit(width, height, most = SIDE) {
  const scale = Math.min(1, most / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** The content of a message: a string, or parts if there are images. */
export function contentOf(text, images) {
  if (!images.length) return text;
  const parts = images.map((url) => ({ type: "image_url", image_url: { url } }));
  return text.trim() === "" ? parts : [{ type: "text", text }, ...parts];
}

/** The text of a message's content. */
export function textOf(content) {
  if (!Array.isArray(content)) return content ?? "";
  return content.filter(({ type }) => type === "text").map(({ text }) => text).join("\n\n");
}

/** The URLs of the images in a message's content; only those that are part of it, never of another host. */
export function imagesOf(content) {
  if (!Array.isArray(content)) return [];
  return content.map((part) => part?.image_url?.url).filter((url) => typeof url === "string" && url.startsWith("data:image/"));
}

/** Whether an error says that the model takes no images. */
export function refusesImages(error) {
  const words = `${error?.message ?? ""} ${error?.param ?? ""}`.toLowerCase();
  return /image|vision|multi-?modal|content must be a string|content should be a (valid )?string/.test(words);
}

/** The size of a data URL's bytes. */
export const bytesOf = (url) => Math.floor(((url.length - url.indexOf(",") - 1) * 3) / 4);

function asUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** A file as a data URL that is not too large. Rejects if it is no image that this browser can read. */
export async function scaled(file) {
  const bitmap = await createImageBitmap(file); // turned as its camera was held
  try {
    const { width, height } = fit(bitmap.width, bitmap.height);
    if (width === bitmap.width && file.size <= PLAIN_BYTES && KINDS.has(file.type)) return await asUrl(file);
    const canvas = el("canvas", { width, height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // behind what was transparent: JPEG has no such thing
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    return canvas.toDataURL("image/jpeg", QUALITY);
  } finally {
    bitmap.close();
  }
}

const files = (transfer) => [...(transfer?.files ?? [])];

/**
 * Let images be added to a question. `place` shows them, `opener` is the button for files, `over` what they may be dropped on;
 * `changed()` is called when there are others, `say(words)` when something is wrong. Returns {images, set(urls)}.
 */
export function attachments({ prompt, place, opener, over = document.documentElement, changed, say }) {
  let images = [];
  let waiting = Promise.resolve();

  const chooser = el("input", { type: "file", id: "files", accept: "image/*", multiple: true, hidden: true, "aria-label": "Images", onchange: () => {
    add([...chooser.files]);
    chooser.value = ""; // the same file may be chosen again
    prompt.focus();
  } });
  opener.after(chooser);
  opener.addEventListener("click", () => chooser.click());

  function draw() {
    place.replaceChildren(...images.map((url, at) => el("li", {},
      el("img", { src: url, alt: `Image ${at + 1}` }),
      button({ class: "remove", "aria-label": `Remove image ${at + 1}`, onclick: () => remove(at) }, "✕"),
    )));
    place.hidden = images.length === 0;
  }

  function remove(at) {
    images = images.filter((_, other) => other !== at);
    draw();
    // To the next one's button, so that a keyboard stays where it was.
    (place.querySelectorAll(".remove")[Math.min(at, images.length - 1)] ?? prompt).focus();
    changed();
  }

  // One after the other, in the order in which they came.
  function add(found) {
    waiting = waiting.then(async () => {
      let trouble = "";
      for (const file of found) {
        if (images.length >= MOST) {
          trouble = `A question may have ${MOST} images.`;
          break;
        }
        try {
          images = [...images, await scaled(file)];
        } catch {
          trouble = `${file.name || "This"} is not an image that this browser can read.`;
        }
      }
      draw();
      changed();
      say(trouble);
    });
    return waiting;
  }

  prompt.addEventListener("paste", (event) => {
    const found = files(event.clipboardData).filter(({ type }) => type.startsWith("image/"));
    // A cell of a table is text and a picture of it: the text is what was meant.
    if (!found.length || event.clipboardData.types.includes("text/plain")) return;
    event.preventDefault();
    add(found);
  });
  let depth = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  over.addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth++;
    over.classList.add("dropping");
  });
  const left = () => ((depth = 0), over.classList.remove("dropping"));
  over.addEventListener("dragleave", (event) => carries(event) && --depth <= 0 && left());
  over.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  over.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault(); // else the browser would open it in place of the page
    left();
    add(files(event.dataTransfer));
    prompt.focus();
  });
  draw();

  return {
    get images() {
      return images;
    },
    /** Settles when what was added is there. */
    get ready() {
      return waiting;
    },
    set(urls) {
      images = [...urls];
      draw();
    },
  };
}

/** The images of a message, as they stand above its text. */
export function imageRow(content) {
  const images = imagesOf(content);
  if (!images.length) return null;
  return el("div", { class: "images" }, ...images.map((url, at) => el("img", { src: url, alt: `Image ${at + 1} of the question`, loading: "lazy" })));
}
