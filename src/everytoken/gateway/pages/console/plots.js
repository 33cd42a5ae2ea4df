// Plots over time, drawn by uPlot with the colours of the page. Lines differ in their dashes too, not only in colour.

import uPlot from "../vendor/uPlot.js";
import { h } from "./dom.js";

const COLOURS = ["--first", "--second", "--third", "--fourth", "--fifth"];
const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [1, 4]];
const HEIGHT = 180;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A figure with a plot of `series`: {name, value(step)}; `words` makes a number readable. Call `update(steps)` with data. `from`: the first colour. */
export function plot(title, series, words, signal, from = 0) {
  const place = h("div", { class: "canvas" });
  const legend = h("ul", { class: "legend", "aria-hidden": "true" });
  const figure = h("figure", { role: "group" }, h("figcaption", {}, title), place, legend);
  const names = series.map(({ name }) => name);
  const items = names.map((name, number) => h("li", {}, h("i", { class: `line line-${number} colour-${(number + from) % COLOURS.length}` }), name, h("b")));
  legend.append(...items);
  let chart = null;
  let data = [[], ...names.map(() => [])];

  const said = (index) =>
    items.forEach((item, number) => (item.lastChild.textContent = index == null ? "" : ` ${words(data[number + 1][index])}`));

  const draw = () => {
    chart?.destroy();
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    chart = new uPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        hooks: { setCursor: [({ cursor }) => said(cursor.idx)] },
        scales: { y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [
          { ...axis, size: 28, space: 70, values: times },
          { ...axis, size: 62, space: 34, values: (_, marks) => marks.map(words) },
        ],
        series: [
          {},
          ...names.map((name, number) => ({
            label: name,
            stroke: () => colour(COLOURS[(number + from) % COLOURS.length]),
            dash: DASHES[number],
            width: 1.75,
            spanGaps: false,
            points: { show: (_, index) => alone(data[index]) || undefined, size: 5 },
          })),
        ],
      },
      data,
      place,
    );
  };

  const watch = new ResizeObserver(() => chart && chart.setSize({ width: Math.max(place.clientWidth, 200), height: HEIGHT }));
  watch.observe(place);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => chart?.redraw(false), { signal });
  signal.addEventListener("abort", () => {
    watch.disconnect();
    chart?.destroy();
  });

  return {
    figure,
    update(all) {
      // The newest step is not over, and would look like a fall.
      const before = all.slice(0, -1);
      const steps = before.some((step) => step.begun || Object.keys(step.outcomes).length) ? before : all;
      data = [steps.map((step) => step.at), ...series.map(({ value }) => steps.map((step) => value(step) ?? null))];
      figure.setAttribute("aria-label", `${title}. ${names.map((name, number) => summary(name, data[number + 1], words)).join("; ")}`);
      chart ? chart.setData(data) : draw();
    },
  };
}

// Where no two values stand beside each other a line would not be seen.
function alone(values) {
  return !values.some((value, at) => value != null && values[at + 1] != null);
}

function summary(name, values, words) {
  const known = values.filter((value) => value != null);
  return known.length ? `${name}: ${words(Math.min(...known))} to ${words(Math.max(...known))}` : `${name}: nothing`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

function times(_, marks) {
  const long = marks.length > 1 && marks[1] - marks[0] >= 86_400;
  return marks.map((mark) => (long || new Date(mark * 1000).getHours() + new Date(mark * 1000).getMinutes() === 0 ? day : clock).format(mark * 1000));
}
