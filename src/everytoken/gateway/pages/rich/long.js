// Lists and tables that go on for ever. A browser lays out a list or a table as a whole; so after some rows the rest goes on in
// another one, and only the last of them is laid out again while it grows.

/** Move what is behind the first `count` children of a list or of a group of rows into another one, and return that. */
export function goOnIn(above, count) {
  const below = above.cloneNode(false);
  below.append(...[...above.children].slice(count));
  if (above.nodeName === "TBODY") {
    above.after(below);
    return below;
  }
  above.classList.add("goes-on");
  if (above.isConnected) below.dir = getComputedStyle(above).direction; // one direction for all of it
  if (above.nodeName === "OL") below.start = above.start + count;
  return below;
}

/** Keep the columns of a table as wide as they are now, whatever the rows that follow have in them. */
export function freezeColumns(table) {
  if (table.classList.contains("long")) return;
  const widths = [...table.tHead.rows[0].cells].map((cell) => cell.getBoundingClientRect().width);
  if (!(widths[0] > 0)) return; // it is not shown
  table.style.setProperty("--columns", widths.map((width) => `${width.toFixed(2)}px`).join(" "));
  table.classList.add("long");
}
