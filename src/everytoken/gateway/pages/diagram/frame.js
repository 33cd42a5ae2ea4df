// The inside of a diagram's frame: it gets a source, draws it, and says how high the picture is or what is wrong. This document
// has no origin (see pages/__init__.py), and no module: those would be fetched across origins.

const { mermaid } = globalThis;
const SMALLEST = 0.6; // of its own size: its letters can be read

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
  measure(); // at once: what watches it sleeps while the frame is not shown
  new ResizeObserver(measure).observe(picture);
}

addEventListener("message", ({ data, source }) => {
  if (source !== parent) return;
  draw(data).catch((error) => tell({ wrong: String(error?.message ?? error) }));
});

tell(mermaid ? { ready: true } : { missing: true });
