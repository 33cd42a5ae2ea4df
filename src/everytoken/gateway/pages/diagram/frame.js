// Runs inside a diagram's frame: draws the source that the page sends, and answers with the picture's height or an error. This
// document has no origin (see pages/__init__.py). So it has no modules, which the browser would fetch across origins.

const { mermaid } = globalThis;
const SMALLEST = 0.6; // of its own size: any smaller, and its text could not be read

function tell(message) {
  parent.postMessage(message, "*"); // the page's origin is not known in here, and nothing in a message is a secret
}

async function draw({ source, look }) {
  document.documentElement.style.colorScheme = look.dark ? "dark" : "light";
  document.body.style.cssText = "margin: 0; overflow: auto hidden;";
  mermaid.initialize({
    startOnLoad: false,
    securityLevel: "strict",
    theme: "base",
    darkMode: look.dark,
    fontFamily: look.font,
    suppressErrorRendering: true,
    themeVariables: { darkMode: look.dark, fontFamily: look.font, fontSize: look.size, pieOpacity: 1, useGradient: false, dropShadow: "none", ...look.colours },
  });
  const { svg } = await mermaid.render("diagram", source);
  document.body.innerHTML = svg;
  const picture = document.body.firstElementChild;
  picture.style.display = "block";
  picture.style.marginInline = "auto";
  picture.style.minWidth = `${SMALLEST * parseFloat(picture.style.maxWidth)}px`; // one that is wider scrolls
  const measure = () => tell({ height: Math.ceil(picture.getBoundingClientRect().height) });
  measure(); // at once: the observer does not run while the frame is hidden
  new ResizeObserver(measure).observe(picture);
}

addEventListener("message", ({ data, source }) => {
  if (source !== parent) return;
  draw(data).catch((error) => tell({ wrong: String(error?.message ?? error) }));
});

tell(mermaid ? { ready: true } : { missing: true });
