"use strict";
// Everything the page shows follows from `view`; the fragment of the address holds a copy of it.
const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const view = { ...facts.first, token: null, stretch: false };
const count = facts.ids.length;
const decoded = new Map();
let spans = [], present = null, hovered = null, before = null, timer = 0;

// -- arrays --------------------------------------------------------------------------------

/** The numbers of an element: base64, then zlib's format, then little-endian numbers. */
async function decode(id, Kind) {
  if (!decoded.has(id)) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    decoded.set(id, new Response(stream).arrayBuffer().then((buffer) => new Kind(buffer)));
  }
  return decoded.get(id);
}

/** What is shown: for each token a number between the ends of the colours, 0 to 1. */
async function series({ show, layer, unit }) {
  if (show === "bits") {
    const bits = await decode("bits", Float32Array);
    return { kind: "bits", values: bits, low: 0, high: 10 };
  }
  const kind = facts.quantities.find(([name]) => name === show)[2];
  const bytes = await decode(`${show}-${layer}`, Uint8Array);
  const own = bytes.subarray(unit * count, (unit + 1) * count);
  if (kind === "unsigned") {
    return { kind, values: Float32Array.from(own, (q) => q / 255), low: 0, high: 1 };
  }
  const scales = kind === "scaled" ? await decode(`${show}-${layer}-scale`, Float32Array) : null;
  const scale = scales ? scales[unit] : 1;
  const values = Float32Array.from(own, (q) => ((q - 128) / 126) * scale);
  return { kind, values, low: -scale, high: scale };
}

/** Make the colours end where the values of this unit do. */
function stretched(shown) {
  let low = Infinity, high = -Infinity;
  for (const value of shown.values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (shown.kind === "bits") return { ...shown, low: 0, high: Math.max(high, 1e-6) };
  if (shown.kind === "unsigned") return { ...shown, low, high: Math.max(high, low + 1e-6) };
  const most = Math.max(-low, high, 1e-6);
  return { ...shown, low: -most, high: most };
}

// -- colours -------------------------------------------------------------------------------

const PALETTES = {
  signed: ["--negative", "--middle", "--positive"],
  scaled: ["--negative", "--middle", "--positive"],
  unsigned: ["--shut", "--open"],
  bits: ["--expected", "--surprising"],
};

function palette(kind) {
  const style = getComputedStyle(document.documentElement);
  const ends = PALETTES[kind].map((name) => {
    const hex = parseInt(style.getPropertyValue(name).trim().slice(1), 16);
    return [hex >> 16, (hex >> 8) & 255, hex & 255];
  });
  return Array.from({ length: 256 }, (_, n) => {
    const at = (n / 255) * (ends.length - 1), i = Math.min(Math.floor(at), ends.length - 2);
    const mix = ends[i].map((c, j) => Math.round(c + (at - i) * (ends[i + 1][j] - c)));
    return `rgb(${mix.join(", ")})`;
  });
}

function paint() {
  const { kind, values, low, high } = present;
  const colours = palette(kind);
  for (let t = 0; t < count; t++) {
    const part = (values[t] - low) / (high - low);
    spans[t].style.backgroundColor = colours[Math.round(255 * Math.min(Math.max(part, 0), 1))];
  }
  $("low").textContent = short(low);
  $("high").textContent = short(high) + (kind === "bits" ? " bits" : "");
  $("legend").querySelector("i").style.background =
    `linear-gradient(to right, ${PALETTES[kind].map((name) => `var(${name})`).join(", ")})`;
  $("legend").setAttribute("aria-label",
    `Colours from ${short(low)} (${kind === "signed" || kind === "scaled" ? "orange" : "none"}) ` +
    `to ${short(high)} (${{ unsigned: "green", bits: "purple" }[kind] || "blue"})`);
}

const short = (x) => (Math.abs(x) >= 10 ? x.toFixed(0) : x.toFixed(Math.abs(x) < 1 ? 2 : 1))
  .replace(/^(-?\d)\.0+$/, "$1").replace("-", "−");
const percent = (p) => (p < 0.001 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);

// -- the text ------------------------------------------------------------------------------

function makeText() {
  const fragment = document.createDocumentFragment();
  facts.pieces.forEach((piece, t) => {
    if (facts.gaps.length && facts.gaps[t]) fragment.append(facts.gaps[t]);
    const span = document.createElement("span");
    span.dataset.t = t;
    span.textContent = piece;
    if (!piece || /^[\n\t\x00-\x1f\x7f-\x9f\ud800-\udfff]$/.test(piece)) {
      span.dataset.mark = piece === "\n" ? "↵" : facts.labels[facts.ids[t]];
      if (!piece) span.className = "hexed";
    }
    if (facts.ids[t] === facts.unknown) span.className = "unknown";
    fragment.append(span);
  });
  $("text").replaceChildren(fragment);
  $("text").classList.add(facts.token);
  spans = [...$("text").querySelectorAll("span")];
}

async function showToken(t, announce) {
  const old = $("text").querySelector(".chosen");
  if (old) old.classList.remove("chosen");
  $("detail").setAttribute("aria-live", announce ? "polite" : "off");
  if (t === null) return;
  spans[t].classList.add("chosen");
  const [bits, ids, probabilities] = await Promise.all([
    decode("bits", Float32Array), decode("next-ids", Uint32Array),
    decode("next-probabilities", Float32Array)]);
  if ((hovered ?? view.token) !== t) return;  // another token has been chosen meanwhile
  $("detail").replaceChildren(...tokenDetail(t, bits, ids, probabilities));
}

function tokenDetail(t, bits, ids, probabilities) {
  const head = make("h2", {}, "After ", make("q", {}, facts.labels[facts.ids[t]]),
    ` — ${facts.token} ${(facts.start + t).toLocaleString("en")}`);
  const about = make("p", { className: "muted" },
    `${unitName()} is ${short(present.values[t])}. ` +
    `The ${facts.token} itself came with ${bits[t].toFixed(2)} bits of surprise.`);
  if (present.kind === "bits") {
    about.textContent = `It came with ${bits[t].toFixed(2)} bits of surprise.`;
  }
  const came = t + 1 < count ? facts.ids[t + 1] : null, rows = [];
  for (let n = t * facts.k; n < (t + 1) * facts.k; n++) {
    rows.push(nextRow(facts.labels[ids[n]], probabilities[n], ids[n] === came));
  }
  if (came !== null && !ids.subarray(t * facts.k, (t + 1) * facts.k).includes(came)) {
    rows.push(nextRow(facts.labels[came], 2 ** -bits[t + 1], true));
  }
  const caption = came === null ? "Expected next" : "Expected next; what came is bold";
  const table = make("table", {}, make("caption", {}, caption), make("tbody", {}, ...rows));
  return [head, about, table];
}

function nextRow(label, p, came) {
  const row = make("tr", { className: came ? "came" : "" },
    make("th", { scope: "row" }, label, came ? " ◂" : ""),
    make("td", {}, bar(p)), make("td", { className: "number" }, percent(p)));
  if (came) row.firstChild.append(make("span", { className: "hidden" }, " came"));
  return row;
}

function bar(length, negative, mark) {
  const fill = make("i", {}), outer = make("div", { className: negative ? "bar negative" : "bar" },
    fill);
  fill.style.width = `${100 * Math.min(length, 1)}%`;
  if (mark !== undefined) {
    const line = make("b", {});
    line.style.left = `${100 * Math.min(mark, 1)}%`;
    outer.append(line);
  }
  return outer;
}

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// -- the ranking ---------------------------------------------------------------------------

const SHOWN_UNITS = 4;

function makeRankings() {
  for (const ranking of facts.rankings) {
    const list = make("ul", {}, ...ranking.units.slice(0, SHOWN_UNITS).map((unit) =>
      make("li", {}, follower(ranking, unit))));
    $("rankings").append(make("div", {},
      make("h3", {}, ranking.feature), make("p", { className: "muted" }, ranking.meaning), list));
  }
  $("measure").textContent = facts.rankings.length
    ? "Correlation of a unit with a feature of the text. Units are chosen by the first half of " +
      "the text; the figure is that of the second half. The line in each bar is what chance " +
      "reaches once in twenty times. Choose a unit to see it."
    : "The text is too short, or too uniform, to tell units apart from chance.";
}

function follower(ranking, { layer, unit, correlation: r }) {
  const name = `${ranking.quantity} · layer ${layer} · unit ${unit}`;
  const button = make("button", { type: "button", className: "follower" }, make("span", {}, name),
    bar(Math.abs(r), r < 0, ranking.chance),
    make("span", {}, (r < 0 ? "−" : "+") + Math.abs(r).toFixed(2)));
  if (Math.abs(r) < ranking.chance) {
    button.classList.add("weak");
    button.title = "no better than chance";
  }
  Object.assign(button.dataset, { show: ranking.quantity, layer, unit });
  button.addEventListener("click", () => change({ show: ranking.quantity, layer, unit }));
  return button;
}

// -- the view ------------------------------------------------------------------------------

function unitName() {
  const { show, layer, unit } = view;
  const long = facts.quantities.find(([name]) => name === show)?.[1];
  return `The ${long} of unit ${unit} in layer ${layer}`;
}

async function change(values, { announce = false, remember = true } = {}) {
  Object.assign(view, values);
  const asked = JSON.stringify(view);
  const found = await series(view);
  if (asked !== JSON.stringify(view)) return;  // changed again meanwhile
  present = view.stretch ? stretched(found) : found;
  paint();
  showControls();
  clearTimeout(timer);
  // Browsers refuse many changes of the address in a short time.
  if (remember) timer = setTimeout(() => history.replaceState(null, "", fragment()), 200);
  await showToken(hovered ?? view.token, announce);
  document.documentElement.dataset.ready = fragment();
}

function fragment() {
  const { show, layer, unit, token, stretch } = view;
  const parts = { show, layer, unit };
  if (token !== null) parts.token = facts.start + token;
  if (stretch) parts.stretch = 1;
  return `#${new URLSearchParams(parts)}`;
}

function fromFragment() {
  const given = new URLSearchParams(location.hash.slice(1)), values = {};
  const whole = (name, most, offset = 0) => {
    const value = given.get(name);
    if (/^\d{1,9}$/.test(value ?? "") && value - offset >= 0 && value - offset < most) {
      values[name] = value - offset;
    }
  };
  const names = [...facts.quantities.map(([name]) => name), "bits"];
  if (names.includes(given.get("show"))) values.show = given.get("show");
  whole("layer", facts.layers);
  whole("unit", facts.units);
  whole("token", count, facts.start);
  if (given.has("stretch")) values.stretch = given.get("stretch") === "1";
  return values;
}

function showControls() {
  for (const id of ["show", "layer", "unit"]) $(id).value = view[id];
  $("slider").value = view.unit;
  $("stretch").checked = view.stretch;
  for (const id of ["layer", "unit", "slider"]) $(id).disabled = view.show === "bits";
  $("slider").setAttribute("aria-valuetext", `unit ${view.unit} of ${facts.units}`);
  for (const button of document.querySelectorAll(".follower")) {
    const { show, layer, unit } = button.dataset;
    button.setAttribute("aria-pressed",
      show === view.show && +layer === view.layer && +unit === view.unit);
  }
}

const wrap = (n, size) => ((n % size) + size) % size;

function nextQuantity() {
  const names = [...$("show").options].map((option) => option.value);
  change({ show: names[wrap(names.indexOf(view.show) + 1, names.length)] });
}

function toggleBits() {
  if (view.show === "bits") return change({ show: before ?? facts.first.show });
  before = view.show;
  return change({ show: "bits" });
}

function moveToken(by) {
  const token = view.token === null ? 0 : Math.min(Math.max(view.token + by, 0), count - 1);
  hovered = null;
  change({ token }, { announce: true }).then(() =>
    spans[token].scrollIntoView({ block: "nearest" }));
}

const moveUnit = (by) => {
  if (view.show !== "bits") change({ unit: wrap(view.unit + by, facts.units) });
};
const LETTERS = {
  l: () => change({ layer: wrap(view.layer + 1, facts.layers) }),
  q: nextQuantity,
  b: toggleBits,
  s: () => change({ stretch: !view.stretch }),
  j: () => moveToken(1),
  k: () => moveToken(-1),
  u: () => $("unit").select(),
};
const KEYS = {
  ArrowLeft: () => moveUnit(-1),
  ArrowRight: () => moveUnit(1),
  Escape: () => { hovered = null; change({ token: null }); },
  "?": () => $("keys").showModal(),
};

function listen() {
  document.addEventListener("keydown", (event) => {
    const own = event.target.matches?.("input:not([type=checkbox]), select");
    if (event.ctrlKey || event.altKey || event.metaKey || $("keys").open) return;
    if (event.shiftKey && event.key !== "?") return;  // Shift and arrows select text
    if (own && event.key !== "Escape") return;
    const act = KEYS[event.key] ?? ($("letters").checked ? LETTERS[event.key] : undefined);
    if (!act) return;
    event.preventDefault();
    act();
  });
  $("show").addEventListener("input", (event) => change({ show: event.target.value }));
  $("layer").addEventListener("input", (event) => change({ layer: +event.target.value }));
  $("slider").addEventListener("input", (event) => change({ unit: +event.target.value }));
  $("stretch").addEventListener("input", (event) => change({ stretch: event.target.checked }));
  $("unit").addEventListener("input", (event) => {
    const unit = event.target.valueAsNumber;
    if (Number.isInteger(unit) && unit >= 0 && unit < facts.units) change({ unit });
  });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("help").addEventListener("click", () => $("keys").showModal());
  const at = (event) => event.target.dataset?.t;
  $("text").addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch" || at(event) === undefined) return;
    hovered = +at(event);
    showToken(hovered, false);
  });
  $("text").addEventListener("pointerleave", () => { hovered = null; showToken(view.token); });
  $("text").addEventListener("click", (event) => {
    if (at(event) === undefined || String(getSelection())) return;
    change({ token: +at(event) === view.token ? null : +at(event) });
  });
  $("text").addEventListener("focus", () => {
    if (view.token === null && $("text").matches(":focus-visible")) moveToken(0);
  });
  addEventListener("hashchange", () => change(fromFragment(), { remember: false }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

// -- start ---------------------------------------------------------------------------------

function start() {
  const many = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const network = `${many(facts.layers, "layer")} of ${many(facts.units, `${facts.cell} unit`)}`;
  $("lede").textContent = `${network} read ${many(count, facts.token)}, with ` +
    `${facts.bits.toFixed(2)} bits of surprise on average. ` +
    "Each is coloured by what the chosen unit does once it has been read.";
  $("footer").textContent = `${facts.notes.map((note) => `${note}.`).join(" ")} ` +
    `Layers and units count from 0. Made by fastseq ${facts.version}.`;
  $("show").append(
    ...facts.quantities.map(([name, long]) => new Option(`${name}: ${long}`, name)),
    new Option("surprise in bits", "bits"));
  for (let n = 0; n < facts.layers; n++) $("layer").append(new Option(n, n));
  $("unit").max = $("slider").max = facts.units - 1;
  if (matchMedia("(max-width: 60rem)").matches) $("fold").open = false;
  makeText();
  makeRankings();
  listen();
  return change(fromFragment()).then(() => {
    if (view.token !== null) spans[view.token].scrollIntoView({ block: "center", behavior: "instant" });
  });
}

start().catch((error) => {
  $("trouble").hidden = false;
  $("trouble").textContent = typeof DecompressionStream === "undefined"
    ? "This browser is too old for this page: it lacks DecompressionStream (2023)."
    : `This page could not be drawn: ${error.message}`;
});
