// Follow the end of the text, but only while the reader is there.

const NEAR = 48; // CSS pixels that still count as the end

/** Keep `scroller` at its end while it is there; `button` leads back to it. Returns toEnd(). */
export function stickToEnd(scroller, button) {
  let follows = true;
  let top = 0;

  const toEnd = () => {
    follows = true;
    scroller.scrollTop = scroller.scrollHeight;
    button.hidden = true;
  };

  scroller.addEventListener("scroll", () => {
    const rest = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
    if (scroller.scrollTop < top - 1 && rest > 1) follows = false; // the reader went up
    else if (rest < NEAR) follows = true;
    top = scroller.scrollTop;
    button.hidden = follows || rest < NEAR;
  }, { passive: true });
  button.addEventListener("click", toEnd);
  const keep = () => follows && toEnd();
  scroller.addEventListener("grown", keep);
  addEventListener("resize", keep);
  return toEnd;
}
