// Making elements without a string that is read as markup.

/**
 * An element with properties (`class`, `hidden`, `onclick` …), attributes (whatever has a "-", and `role`, `for`, `list`) and
 * children, of which null and false are left out.
 */
export function el(name, given = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** A button that submits nothing. */
export const button = (given, ...children) => el("button", { type: "button", ...given }, ...children);

const SVG = "http://www.w3.org/2000/svg";

/** A line drawing of 16 by 16; what it means is said beside it. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** A dialog that a click beside it closes; Escape does by itself. Where the focus was, it returns to. */
export function dialog(given, ...children) {
  const made = el("dialog", given, ...children);
  made.addEventListener("pointerdown", (event) => {
    if (event.target !== made) return;
    const { left, right, top, bottom } = made.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (!inside) made.close();
  });
  document.body.append(made);
  return made;
}
