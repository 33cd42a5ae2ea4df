// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat("en-GB", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const count = (value) => (value == null ? "–" : whole.format(value));
export const compact = (value) => (value == null ? "–" : short.format(value));
export const when = (seconds) => moment.format(seconds * 1000);

export function seconds(value) {
  if (value == null) return "–";
  if (value === 0) return "0 s";
  if (value < 1) return `${Number((value * 1000).toPrecision(value < 0.1 ? 2 : 3))} ms`;
  if (value < 60) return `${Number(value.toPrecision(3))} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  if (value < 172_800) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86_400)} days`;
}

export function money(value) {
  if (value == null) return "–";
  if (value === 0) return "$0";
  return value < 0.01 ? `$${Number(value.toPrecision(2))}` : `$${value.toFixed(2)}`;
}

export const share = (part, all) => (all ? `${Number(((100 * part) / all).toPrecision(2))} %` : "–");

export function bytes(value) {
  if (value == null) return "–";
  return value < 1024 ? `${value} B` : value < 1048576 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / 1048576).toFixed(1)} MiB`;
}
