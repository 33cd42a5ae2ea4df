// The chosen theme, before anything is painted: no module, for those wait until the page has been read. See theme.js.
try {
  const theme = localStorage.getItem("everytoken.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
