// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const MINUTE = 60, HOUR = 3600, DAY = 86400;

export const whole = (value) => WHOLE.format(value);

/** Three figures that tell: 1234 → 1,234; 12.34 → 12.3; 0.01234 → 0.0123. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 100 ? whole(value) : value.toFixed(Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size)))));
}

export const fixed = (value, digits = 4) => (Number.isFinite(value) ? value.toFixed(digits) : "–");

export const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * MINUTE) return `${Math.round(seconds / MINUTE)} min`;
  if (seconds < 48 * HOUR) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} days`;
}

/** How long ago something was, from the time that a record names. */
export function ago(text) {
  const seconds = (Date.now() - Date.parse(text)) / 1000;
  return Number.isFinite(seconds) ? `${duration(Math.max(0, seconds))} ago` : text;
}

export function day(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  return at.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

export function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString("en-GB");
}

export function count(number, one, many = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : many}`;
}
