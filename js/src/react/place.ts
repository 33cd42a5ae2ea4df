// Where a page keeps the id of the stream it shows, for a reload or a second tab.

const ID = /^[\w-]+$/; // it becomes part of a path

export function kept(place = "url", name = "stream"): string {
  const inUrl = () => new URL(location.href).searchParams.get(name);
  const id = place === "session" ? sessionStorage.getItem(name) : place === "url" && inUrl();
  return id && ID.test(id) ? id : "";
}

export function keep(place = "url", name = "stream", id: string): void {
  if (id === kept(place, name)) return;
  if (place === "session") {
    if (id) sessionStorage.setItem(name, id);
    else sessionStorage.removeItem(name);
  }
  if (place !== "url") return;
  const url = new URL(location.href);
  if (id) url.searchParams.set(name, id);
  else url.searchParams.delete(name);
  history.replaceState(history.state, "", url);
}
