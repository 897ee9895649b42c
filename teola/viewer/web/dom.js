// Elements, and numbers as people read them. Texts become text nodes, never markup.

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const el = (tag, attributes = {}, ...children) =>
  make(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const byId = (id) => document.getElementById(id);

function seconds(value) {
  if (value < 0) return `-${seconds(-value)}`;
  if (value >= 60) {
    const whole = Math.round(value);
    return `${Math.floor(whole / 60)} m ${String(whole % 60).padStart(2, "0")} s`;
  }
  if (value < 0.000005) return "0 ms";
  const [number, unit] = value < 0.9995 ? [value * 1000, "ms"] : [value, "s"];
  return `${number.toFixed(number < 9.995 ? 2 : number < 99.95 ? 1 : 0)} ${unit}`;
}

const grouped = (number) => number.toLocaleString("en-US");
const percent = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)}%` : "-");

const count = (number, noun, plural = `${noun}s`) =>
  `${grouped(number)} ${number === 1 ? noun : plural}`;

const cell = (text, ...classes) => el("td", { class: classes.join(" ") || null }, String(text));

function table(caption, heads, rows) {
  const head = heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text));
  return el(
    "div",
    { class: "scrolled", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
  );
}
