// What stands under a message: its buttons, the switch between its versions (‹ 2/3 ›), and the form that edits a question.
// A click is handled by whoever shows the conversation, by the button's `data-act`.

export function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(text);
  return element;
}

/** A button that does `act`, or what its class says. */
export function button(words, className, label = "", act = className) {
  const element = make("button", className, words);
  element.type = "button";
  element.dataset.act = act;
  if (label) element.setAttribute("aria-label", label);
  return element;
}

export function copyButton(label) {
  return button("Copy", "copy", label);
}

/** Buttons that are one stop of the Tab key; the arrow keys go from one to the next. */
export function toolbar(label, buttons) {
  const element = make("div", "acts");
  element.setAttribute("role", "toolbar");
  element.setAttribute("aria-label", label);
  element.append(...buttons);
  element.addEventListener("keydown", move);
  element.addEventListener("focusin", ({ target }) => stopAt(element, target));
  stopAt(element, buttons[0]);
  return element;
}

function move(event) {
  const all = [...event.currentTarget.querySelectorAll("button")];
  const at = all.indexOf(event.target);
  const rtl = getComputedStyle(event.currentTarget).direction === "rtl";
  const steps = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1, Home: -at, End: all.length - 1 - at };
  const step = steps[event.key];
  if (at < 0 || step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  all[(at + step + all.length) % all.length].focus();
}

function stopAt(bar, current) {
  for (const one of bar.querySelectorAll("button")) one.tabIndex = one === current ? 0 : -1;
}

/** Show in `bar` that this is version `index` of `count`, and the way to the others. */
export function setSwitcher(bar, index, count) {
  const old = bar.querySelector(".versions");
  const words = `${index + 1}/${count}`;
  if (old?.querySelector(".number").textContent !== words) {
    old?.remove();
    if (count > 1) bar.prepend(switcher(index, count, words));
  }
  if (!bar.contains(document.activeElement)) stopAt(bar, bar.querySelector("button"));
  bar.hidden = bar.childElementCount === 0;
}

function switcher(index, count, words) {
  const element = make("span", "versions");
  const [previous, next] = [button("‹", "previous", "Previous version"), button("›", "next", "Next version")];
  previous.setAttribute("aria-disabled", index === 0);
  next.setAttribute("aria-disabled", index === count - 1);
  const number = make("span", "number", words);
  number.setAttribute("aria-label", `Version ${index + 1} of ${count}`);
  number.setAttribute("role", "img");
  element.append(previous, number, next);
  return element;
}

/** A form with `text`, as one asks: `close(text)` when it is to be asked, `close()` when not. */
export function editForm(text, close) {
  const form = make("form", "edit");
  const area = make("textarea");
  area.value = text;
  area.setAttribute("aria-label", "Edit the question");
  const [cancel, send] = [button("Cancel", "cancel"), make("button", "primary", "Send")];
  const choices = make("div", "choices");
  choices.append(cancel, send);
  form.append(area, choices);
  const submit = () => area.value.trim() !== "" && close(area.value);
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  cancel.addEventListener("click", () => close());
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation(); // it is not for the answer that is coming
      close();
    } else if (event.key === "Enter" && !event.shiftKey && event.target === area) {
      event.preventDefault();
      submit();
    }
  });
  return form;
}
