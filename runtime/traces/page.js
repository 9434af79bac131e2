"use strict";
// Filters, sorts and unfolds the traces of the page. Texts go into the page as text alone.

// As in page.py, whose rows have their positions.
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

const items = JSON.parse(find("rows").textContent).map(
  ([start, duration, retries, failed, operation, service, name, bar, lasted, outcome, tone, often], number) => {
    return { number, start, duration, retries, failed, operation, service, name, bar, lasted, outcome, tone, often };
  },
);
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

function track(tone, from, width, kind) {
  const element = make("span", `track ${TONES[tone]}`);
  element.setAttribute("aria-hidden", "true");
  if (kind === "stop") return element;
  const bar = element.appendChild(make("span", "bar"));
  bar.style.setProperty("--from", `${from}%`);
  bar.style.setProperty("--width", `${width}%`);
  return element;
}

function row([label, text, ...details], [depth, kind, tone, from, width, lasted, at]) {
  const element = make("details", `row ${KINDS[kind]}`);
  element.style.setProperty("--depth", Math.min(depth, 12));
  const summary = element.appendChild(make("summary"));
  summary.append(make("span", "what", label), track(tone, from, width, KINDS[kind]));
  summary.append(make("span", "time", lasted), make("span", `text ${TONES[tone]}`, text));
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

function trace(item) {
  const line = make("li", "trace");
  const element = line.appendChild(make("details"));
  const summary = element.appendChild(make("summary"));
  const name = make("span", "name", item.name);
  const outcome = make("span", `outcome ${TONES[item.tone]}`, item.outcome);
  [name.title, outcome.title] = [item.name, item.outcome];
  summary.append(make("span", "started", clock(item.start, true)), name, track(item.tone, 0, item.bar));
  summary.append(make("span", "time", item.lasted), outcome, make("span", "soft often", item.often));
  element.unfold = () => {
    const [[traceId, correlationIds, ...texts], figures] = inside(item.number).map((part) => JSON.parse(part));
    const body = element.appendChild(make("div", "body"));
    body.append(identifier("trace", traceId), ...correlationIds.map((id) => identifier("correlation id", id)));
    body.append(...texts.map((one, index) => row(one, figures[index])));
  };
  line.number = item.number;
  sizes.observe(line);
  return line;
}

list.addEventListener("toggle", ({ target }) => target.open && target.children.length === 1 && target.unfold(), true);

// --- the lines near the screen are elements, all others are space above and below them

const MARGIN_PX = 400;
const made = new Map(); // line of a trace's number: those that are drawn, or unfolded
const unfolded = new Map(); // their heights
let shown = []; // traces that are meant, in their order
let tops = [0]; // where the line of each begins, and where the last one ends
let lineHeight = 32;
let whole = false;

const sizes = new ResizeObserver((entries) => {
  let changed = false;
  for (const { target, borderBoxSize } of entries) {
    const height = borderBoxSize[0].blockSize;
    if (!height) continue; // it was removed
    const before = unfolded.get(target.number) ?? lineHeight;
    if (target.firstChild.open) unfolded.set(target.number, height);
    else {
      unfolded.delete(target.number);
      lineHeight = height;
    }
    changed ||= height !== before;
  }
  if (changed) layOut();
});

function layOut() {
  tops = new Float64Array(shown.length + 1);
  shown.forEach((item, index) => (tops[index + 1] = tops[index] + (unfolded.get(item.number) ?? lineHeight)));
  draw();
}

function indexAt(y) {
  let [low, high] = [0, shown.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tops[middle + 1] <= y) low = middle + 1;
    else high = middle;
  }
  return low;
}

function draw() {
  const top = -list.getBoundingClientRect().top;
  const first = whole ? 0 : indexAt(top - MARGIN_PX);
  const end = whole ? shown.length : Math.min(indexAt(top + innerHeight + MARGIN_PX) + 1, shown.length);
  const wanted = new Map(shown.slice(first, end).map((item, index) => [item.number, first + index]));
  for (const [number, line] of made) {
    if (wanted.has(number)) continue;
    line.remove();
    if (!line.firstChild.open) made.delete(number);
  }
  let next = list.firstChild;
  for (const [number, index] of wanted) {
    let line = made.get(number);
    if (!line) made.set(number, (line = trace(items[number])));
    line.setAttribute("aria-setsize", shown.length);
    line.setAttribute("aria-posinset", index + 1);
    if (line === next) next = next.nextSibling;
    else list.insertBefore(line, next);
  }
  list.style.paddingTop = `${tops[first]}px`;
  list.style.paddingBottom = `${tops[shown.length] - tops[end]}px`;
}

let due = false;
function drawSoon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
}
addEventListener("scroll", drawSoon, { passive: true });
addEventListener("resize", drawSoon);
for (const [name, value] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(name, () => {
    whole = value;
    draw();
  });
}

// --- which traces, in which order

const ORDERS = {
  worst: (a, b) => a.number - b.number,
  start: (a, b) => a.start - b.start,
  duration: (a, b) => b.duration - a.duration,
  retries: (a, b) => b.retries - a.retries,
};
let order = "worst";
let sorted = items;

// A clock time is of the first day, or of the next one where that is nearer to the traces.
function moment(input) {
  if (!input.value) return null;
  if (input.type !== "time") return new Date(input.value).getTime();
  const [first, last] = [Number(input.dataset.first), Number(input.dataset.last)];
  const at = new Date(first);
  at.setHours(...input.value.split(":").map(Number), 0);
  if (!input.value.slice(6)) at.setSeconds(0);
  if (first - at > Math.max(1000, at.getTime() + DAY_MS - last)) at.setDate(at.getDate() + 1);
  return at.getTime();
}

function show() {
  const wanted = JSON.stringify(find("search").value.trim()).slice(1, -1).replaceAll("<", "\\u003c").toLowerCase();
  if (wanted) searched ??= items.map((item) => inside(item.number)[0].toLowerCase());
  const [from, until, service] = [moment(find("from")), moment(find("until")), find("service").value];
  const pressed = operations.filter((one) => one.ariaPressed === "true").map((one) => Number(one.dataset.operation));
  const [failed, retried, slow] = ["failed", "retried", "slow"].map((id) => find(id).checked);
  if (order !== find("sort").value) {
    order = find("sort").value;
    sorted = [...items].sort(ORDERS[order]);
  }
  shown = sorted.filter(
    (item) =>
      (!failed || item.failed) &&
      (!retried || item.retries) &&
      (!slow || item.duration > 1) &&
      (from === null || item.start >= from) &&
      (until === null || item.start < until) &&
      (!service || item.service.includes(Number(service))) &&
      (!pressed.length || pressed.some((one) => item.operation.includes(one))) &&
      (!wanted || searched[item.number].includes(wanted)),
  );
  layOut();
  const { worstOf } = find("count").dataset;
  find("count").textContent =
    `${shown.length} of ${items.length} shown` + (worstOf ? `, the worst of ${worstOf}` : "");
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
find("all").addEventListener("click", () => {
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
// Else a drag selects text, and the next one takes that along in its place.
strip?.addEventListener("mousedown", (event) => event.preventDefault());
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
  current[way]?.querySelector("summary").focus(); // which scrolls, and so draws the next ones
});

form.hidden = false;
show();
if (items.length === 1) list.querySelector("details").open = true;
