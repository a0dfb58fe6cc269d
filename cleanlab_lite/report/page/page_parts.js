"use strict";
// The data, and small parts of which everything is made. Text of strangers reaches the page through textContent only.

const data = JSON.parse(document.getElementById("data").textContent);
const F = Object.fromEntries(data.fields.map((name, i) => [name, i]));
const { rows, labels } = data;
const names = labels.map((text, i) => data.names[i] ?? text); // what is shown: labels that look alike are told apart
const details = new Map(data.details.map(([row, ...detail]) => [row, detail])); // picture, sound, curve, neighbours, why
const $ = (id) => document.getElementById(id);
const SMALL = 48; // pixels: smaller pictures are enlarged without blur

const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
};
const svg = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const button = (text, onclick, attributes = {}) => el("button", { type: "button", text, onclick, ...attributes });
const get = (row, name) => rows[row][F[name]] ?? null;
const idOf = (row) => rows[row][F.id];
const LONG = 12; // characters of folders that are left out where all rows share them: a name is cut off at its end
const folder = rows.reduce((shared, row) => {
  while (!row[F.id].startsWith(shared)) shared = shared.replace(/[^/]*\/$/, "");
  return shared;
}, (rows[0]?.[F.id] ?? "").replace(/[^/]*$/, ""));
const shortId = (row) => (folder.length > LONG ? `…/${idOf(row).slice(folder.length)}` : idOf(row));
const issueOf = (row) => rows[row][F.issue];
const notesOf = (row) => (get(row, "notes") ?? []).map((i) => data.reasons[i]);
const label = (index) => (index === null ? "no label" : names[index]);
const named = (text) => names[labels.indexOf(text)] ?? text;
const given = (row) => (get(row, "given") === null ? null : labels[get(row, "given")]);
const suggested = (row) => (get(row, "suggested") === null ? null : labels[get(row, "suggested")]);
const probable = (row) => (get(row, "probable") ?? []).filter((_, i) => i % 2 === 0); // indices of labels
const percent = (p) => (p === null ? "–" : `${Math.round(100 * p)} %`);
const chance = (p) => (p === null ? "–" : p < 0.005 ? "<1 %" : p >= 0.995 ? ">99 %" : percent(p)); // as everywhere: nobody knows for certain
const count = (n) => n.toLocaleString("en");
const numbered = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
const change = (from, to) => [from, el("span", { class: "arrow", text: "→" }), el("wbr"), el("b", { text: to })]; // a line ends there, not inside a name
const labelsOf = (row) => [get(row, "given"), ...(suggested(row) === null ? [] : [get(row, "suggested")])].map(label);
const meter = (share) => {
  const filled = el("i");
  filled.style.width = `${100 * share}%`;
  return el("span", { class: "meter" }, filled);
};
const picture = (source, about = "") => {
  const image = el("img", { src: source, alt: about, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) < SMALL));
  return image;
};
const preview = (row) => details.get(row)?.[0] || null;
const inFull = (source) => source.replace(/^preview\//, "picture/"); // where the page is served
const sound = (row) => details.get(row)?.[1] || null;

// One sound at a time; the same button again stops it.
let playing = null;
const play = (source) => {
  const again = playing && !playing.ended && !playing.paused && playing.src === source;
  playing?.pause();
  if (again || !source) return;
  playing = new Audio(source);
  playing.play().catch(() => {}); // a clip that the browser cannot decode stays silent
};

// A row as a picture to click, with a line below; it plays where it sounds.
const card = (row, text, { image = preview(row), clip = sound(row) } = {}) => {
  const about = row === null ? text : `${idOf(row)}, labelled ${label(get(row, "given"))}`;
  const face = image ? picture(image, about) : el("span", { class: "one", text: row === null ? "" : idOf(row) });
  return el("div", { class: "mini" },
    row === null ? face : el("button", { type: "button", class: "face", title: idOf(row), "aria-label": about, onclick: () => visit(row) }, face),
    el("div", { class: "under" }, el("span", { class: "one", text, title: text }),
      clip ? button("▶", () => play(clip), { class: "listen", "aria-label": `play ${about}` }) : null));
};
