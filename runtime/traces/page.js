"use strict";
// Filters, sorts and unfolds the traces of the page. Texts go into the page as text alone.

const KINDS = ["call", "attempt", "span", "wait", "event", "stop"];
const TONES = ["good", "recovered", "slow", "bad", "unsure", "wait-tone", "note", "plain"];
const DAY_MS = 86_400_000;
const find = (id) => document.getElementById(id);
const list = find("list");
const form = document.querySelector("form");
const operations = [...document.querySelectorAll("button[data-operation]")];

// --- times, in the reader's time zone

const withDays = "days" in document.body.dataset;
const two = (number) => String(number).padStart(2, "0");

function clock(ms, parts) {
  const at = new Date(ms);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  const day = withDays ? `${two(at.getMonth() + 1)}-${two(at.getDate())} ` : "";
  return day + time + (parts ? `.${String(at.getMilliseconds()).padStart(3, "0")}` : "");
}

for (const one of document.querySelectorAll("[datetime]")) {
  const parts = one.textContent.charAt(8) === ".";
  one.textContent = clock(Date.parse(one.getAttribute("datetime")), parts) + (one.dataset.more ?? "");
}
find("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;

// --- what is inside of a trace: two lines of JSON, its texts and its figures

const items = [...list.children].map((element, number) => ({
  element,
  number,
  operation: element.dataset.operation.split(" "),
  service: element.dataset.service.split(" "),
  start: Number(element.dataset.start),
  duration: Number(element.dataset.duration),
  retries: Number(element.dataset.retries),
  failed: element.dataset.failed === "1",
}));
const numbers = new Map(items.map((item) => [item.element, item.number]));
let lines = null;
let searched = null;

function inside(number) {
  lines ??= find("inside").textContent.trim().split("\n");
  return [lines[2 * number], lines[2 * number + 1]];
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function copyButton(label, text) {
  const button = make("button", "copy", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy ${label}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Where the browser gives pages from a file no clipboard.
      const area = make("textarea", "quiet");
      area.value = text;
      button.after(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    find("said").textContent = `Copied ${label}`;
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

function identifier(label, text) {
  const line = make("p", "", `${label} `);
  line.append(make("code", "", text), " ", copyButton(label, text));
  return line;
}

function row([label, text, ...details], [depth, kind, tone, from, width, lasted, at]) {
  const element = make("details", `row ${KINDS[kind]}`);
  element.style.setProperty("--depth", Math.min(depth, 12));
  element.style.setProperty("--from", `${from}%`);
  element.style.setProperty("--width", `${width}%`);
  const track = make("span", `track ${TONES[tone]}`);
  track.setAttribute("aria-hidden", "true");
  if (KINDS[kind] !== "stop") track.append(make("span", "bar"));
  const summary = make("summary");
  summary.append(make("span", "what", label), track, make("span", "time", lasted), make("span", `text ${TONES[tone]}`, text));
  element.append(summary);
  element.unfold = () => {
    const pairs = [["at", `${at} after the start`]];
    for (let index = 0; index < details.length; index += 2) pairs.push(details.slice(index, index + 2));
    const attributes = make("dl", "mono");
    for (const [name, value] of pairs) attributes.append(make("dt", "", name), make("dd", "", value));
    const all = pairs.map(([name, value]) => `${name}: ${value}`).join("\n");
    element.append(attributes, copyButton(`the attributes of ${label}`, all));
  };
  return element;
}

function unfold(trace) {
  const [texts, figures] = inside(numbers.get(trace.parentElement)).map((part) => JSON.parse(part));
  const [traceId, correlationIds, ...rows] = texts;
  const body = make("div", "body");
  body.append(identifier("trace", traceId), ...correlationIds.map((id) => identifier("correlation id", id)));
  body.append(...rows.map((one, index) => row(one, figures[index])));
  trace.append(body);
}

list.addEventListener(
  "toggle",
  ({ target }) => {
    if (!target.open || target.children.length > 1) return;
    if (target.unfold) target.unfold();
    else unfold(target);
  },
  true, // toggle does not bubble
);
for (const trace of list.querySelectorAll(":scope > li > details[open]")) if (trace.children.length === 1) unfold(trace);

// --- which traces, in which order

const ORDERS = {
  worst: (a, b) => a.number - b.number,
  start: (a, b) => a.start - b.start,
  duration: (a, b) => b.duration - a.duration,
  retries: (a, b) => b.retries - a.retries,
};
let order = "worst";

// A clock time is of the first day, or of the next one where the traces reach so far.
function moment(input) {
  if (!input.value) return null;
  if (input.type !== "time") return new Date(input.value).getTime();
  const [first, last] = [Number(input.dataset.first), Number(input.dataset.last)];
  const at = new Date(first);
  at.setHours(...input.value.split(":").map(Number), 0);
  if (!input.value.slice(6)) at.setSeconds(0);
  if (at.getTime() < first - 1000 && at.getTime() + DAY_MS <= last) at.setDate(at.getDate() + 1);
  return at.getTime();
}

function show() {
  const wanted = JSON.stringify(find("search").value.trim()).slice(1, -1).replaceAll("<", "\\u003c").toLowerCase();
  if (wanted) searched ??= items.map((item) => inside(item.number)[0].toLowerCase());
  const [from, until, service] = [moment(find("from")), moment(find("until")), find("service").value];
  const pressed = operations.filter((one) => one.ariaPressed === "true").map((one) => one.dataset.operation);
  const [failed, retried, slow] = ["failed", "retried", "slow"].map((id) => find(id).checked);
  let seen = 0;
  for (const item of items) {
    const hidden =
      (failed && !item.failed) ||
      (retried && !item.retries) ||
      (slow && item.duration <= 1) ||
      (from !== null && item.start < from) ||
      (until !== null && item.start >= until) ||
      (service && !item.service.includes(service)) ||
      (pressed.length > 0 && !pressed.some((one) => item.operation.includes(one))) ||
      (wanted && !searched[item.number].includes(wanted));
    if (item.element.hidden !== Boolean(hidden)) item.element.hidden = Boolean(hidden);
    seen += !hidden;
  }
  if (order !== find("sort").value) {
    order = find("sort").value;
    list.append(...[...items].sort(ORDERS[order]).map((item) => item.element));
  }
  find("count").textContent = `${seen} of ${items.length} shown`;
}

for (const button of operations) {
  button.disabled = false;
  button.addEventListener("click", () => {
    button.ariaPressed = String(button.ariaPressed !== "true");
    show();
  });
}
for (const control of form.elements) control.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
find("reset").addEventListener("click", () => {
  form.reset();
  for (const button of operations) button.ariaPressed = "false";
  show();
});

// Dragging over the calls chooses their time; the two fields say the same.
const strip = find("strip")?.ownerSVGElement;
let pulled = null;

function timeUnder(event) {
  const { left, width } = strip.getBoundingClientRect();
  const { start, end, steps } = find("strip").dataset;
  const step = Math.floor((steps * (event.clientX - left)) / width);
  const size = (end - start) / steps;
  return [0, 1].map((more) => Number(start) + size * (Math.min(Math.max(step, 0), steps - 1) + more));
}

function asValue(ms, kind) {
  const at = new Date(ms);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return kind === "time" ? time : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${time}`;
}

strip?.addEventListener("pointerdown", (event) => {
  pulled = timeUnder(event);
  strip.setPointerCapture(event.pointerId);
});
strip?.addEventListener("pointerup", (event) => {
  if (!pulled) return;
  const both = [...pulled, ...timeUnder(event)];
  pulled = null;
  find("from").value = asValue(Math.min(...both), find("from").type);
  find("until").value = asValue(Math.max(...both), find("until").type);
  show();
});

// --- keys: arrows go from trace to trace, a slash to the search

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
  if (event.key === "/") {
    event.preventDefault();
    find("search").focus();
  }
  const way = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const current = event.target.closest("#list > li");
  if (!way || !current || event.target.parentElement.parentElement !== current) return;
  event.preventDefault();
  let next = current[way];
  while (next?.hidden) next = next[way];
  next?.querySelector("summary").focus();
});

form.hidden = false;
show();
