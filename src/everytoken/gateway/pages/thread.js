// The conversation on the screen: a view for each message that is shown. What is far from what can be seen is laid out
// only when it comes near, or when there is time for it, so that a long conversation opens as quickly as a short one.

import { AnswerView, QuestionView } from "./message.js";
import { path, versions } from "./tree.js";

const NEAR = 12; // messages at the end that look right from the beginning
const MARGIN = "1200px"; // what is so near to the view is got ready
const SLICE_MS = 8; // of a moment in which nothing else happens

const whenIdle = globalThis.requestIdleCallback ?? ((run) => setTimeout(() => run({ timeRemaining: () => SLICE_MS }), 50));

export class Thread {
  #root;
  #views = new Map(); // id of a message -> {view, sign}
  #far = []; // views that wait, the last one first
  #observer;
  #idle = false;

  /** In `root`, which scrolls in `scroller`. */
  constructor(root, scroller) {
    this.#root = root;
    this.#observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) if (isIntersecting) this.#near(this.#views.get(target.dataset.id)?.view);
      },
      { root: scroller, rootMargin: `${MARGIN} 0px` },
    );
  }

  /**
   * Show the messages of `record` that are chosen. A view that shows its message already is kept as it is.
   * Returns [node, view] of each answer that has not ended.
   */
  show(record) {
    const nodes = path(record);
    const all = versions(record);
    const views = new Map();
    const coming = [];
    nodes.forEach((node, index) => {
      const sign = signOf(node);
      let shown = this.#views.get(node.id);
      if (shown?.sign !== sign) {
        const far = index < nodes.length - NEAR && (node.role === "user" || Boolean(node.outcome));
        shown = { view: this.#build(node, far), sign };
      }
      if (node.role === "assistant" && !node.outcome) coming.push([node, shown.view]);
      const siblings = all(node);
      shown.view.versions(siblings.indexOf(node), siblings.length);
      views.set(node.id, shown);
    });
    for (const [id, { view }] of this.#views) {
      if (views.get(id)?.view === view) continue;
      this.#observer.unobserve(view.element);
      view.element.remove();
    }
    this.#views = views;
    let place = this.#root.firstChild;
    const fresh = document.createDocumentFragment();
    for (const { view } of views.values()) {
      if (view.element === place) place = place.nextSibling;
      else if (place) place.before(view.element);
      else fresh.append(view.element);
    }
    this.#root.append(fresh);
    this.#far = [...views.values()].map(({ view }) => view).filter((view) => view.element.classList.contains("far")).reverse();
    this.#whenIdle();
    return coming;
  }

  /** The view of a message, or undefined. */
  viewOf(id) {
    return this.#views.get(id)?.view;
  }

  /** Its view shows already how this answer has ended. */
  ended(node) {
    const shown = this.#views.get(node.id);
    if (shown) shown.sign = signOf(node);
  }

  #build(node, far) {
    const view = node.role === "user" ? new QuestionView(node, { far }) : new AnswerView(node);
    if (node.outcome) {
      if (!far) {
        if (node.reasoning) view.addReasoning(node.reasoning);
        view.add(node.content);
      }
      view.end(node, { far });
    }
    if (far) {
      view.element.classList.add("far");
      // About as high as it will be, so that the scroll bar hardly moves when it is laid out.
      view.element.style.containIntrinsicBlockSize = `auto ${Math.round(4 + node.content.length / 45) * 1.65}rem`;
      this.#observer.observe(view.element);
    }
    return view;
  }

  #near(view) {
    if (!view) return;
    this.#observer.unobserve(view.element);
    if (!view.element.classList.contains("far")) return;
    view.element.classList.replace("far", "near");
    view.near();
  }

  #whenIdle() {
    if (this.#idle || this.#far.length === 0) return;
    this.#idle = true;
    whenIdle((deadline) => {
      this.#idle = false;
      do this.#near(this.#far.shift());
      while (this.#far.length && deadline.timeRemaining() > SLICE_MS / 2);
      this.#whenIdle();
    });
  }
}

// What a view shows of its message; when it changes, there is a new view.
function signOf({ role, key, outcome }) {
  return role === "user" ? "" : `${key} ${outcome}`;
}
