// What is on show: a filter, an order, and of these rows the ones within sight, as a table or as a grid.

const PRINTED = 38; // rows on paper
const OVERSCAN = 6; // rows drawn above and below the visible ones
let view = Int32Array.from(rows.keys());
let position = new Map(); // row -> place in the view
let sort = { by: "", down: false };
let current = -1; // the selected row, which need not be in the view
let place = -1; // of the row in the view that was selected last
const drawn = new Map(); // place -> node
let haystack = null; // per row, what a search looks at
let printing = false;
let only = null; // rows that a gallery or a chart shows, with what they are; null for all

const refilter = () => {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) haystack ??= rows.map((_, row) => [idOf(row), get(row, "path"), label(get(row, "given")), suggested(row) === null ? "" : label(get(row, "suggested"))].join("\n").toLowerCase());
  const [show, want, offer, state] = ["show", "given", "suggested", "decision"].map((id) => $(id).value);
  const kept = [];
  for (let row = 0; row < rows.length; row++) {
    const issue = issueOf(row);
    if (only && !only.rows.has(row)) continue;
    if (show === "suspects" ? issue === "none" : show !== "all" && issue !== show && !notesOf(row).includes(show)) continue;
    if (want !== "" && get(row, "given") !== Number(want)) continue;
    if (offer !== "" && get(row, "suggested") !== Number(offer)) continue;
    if (state !== "") {
      const action = decided(row)?.action ?? "none";
      if (state === "some" ? action === "none" : action !== state) continue;
    }
    if (words.length && !words.every((word) => haystack[row].includes(word))) continue;
    kept.push(row);
  }
  view = Int32Array.from(kept);
  resort();
};
const KEYS = {
  id: idOf,
  given: (row) => label(get(row, "given")),
  p: (row) => get(row, "p") ?? -1,
  confidence: (row) => get(row, "confidence") ?? -1,
  decision: (row) => decided(row)?.action ?? "~",
};
const resort = () => {
  view.sort();
  if (sort.by) {
    const values = new Map();
    for (const row of view) values.set(row, KEYS[sort.by](row));
    const sign = sort.down ? -1 : 1;
    view.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      return x === y ? a - b : x < y ? -sign : sign;
    });
  }
  $("sort").value = sort.by;
  for (const head of document.querySelectorAll("[data-sort]"))
    head.closest("th").setAttribute("aria-sort", head.dataset.sort === sort.by ? (sort.down ? "descending" : "ascending") : "none");
  position = new Map();
  view.forEach((row, at) => position.set(row, at));
  const beyond = data.total - rows.length, bare = view.filter((row) => !details.has(row)).length;
  $("count").textContent = `${count(view.length)} of ${count(rows.length)} rows` + (only ? `, ${only.about}` : "") +
    (beyond ? `; ${count(beyond)} less suspicious rows of the set did not fit into this file` : "") +
    (bare ? `; ${count(bare)} of them without the pictures, sounds and curves that did not fit into this file` : "");
  $("empty").hidden = view.length > 0;
  $("table").setAttribute("aria-rowcount", view.length + 1);
  $("scroller").scrollTop = 0;
  redraw();
  if (position.has(current)) place = position.get(current);
  else select(view.length && innerWidth > 1000 ? view[0] : -1, false);
};
$("sort").addEventListener("change", () => { sort = { by: $("sort").value, down: ["p", "confidence"].includes($("sort").value) }; resort(); });
for (const head of document.querySelectorAll("[data-sort]")) head.addEventListener("click", () => {
  const by = head.dataset.sort;
  // up, down, and back to the order of suspicion
  sort = sort.by !== by ? { by, down: false } : sort.down ? { by: "", down: false } : { by, down: true };
  resort();
});

// Two ways to draw the view. Both draw lines of `columns` nodes, `height` pixels high, between two gaps.

const gap = () => el("tr", { class: "gap", "aria-hidden": "true" }, el("td", { colspan: 5 }));
const rowHeight = () => parseInt(getComputedStyle(document.documentElement).getPropertyValue("--row"), 10);
const TABLE = {
  columns: () => 1,
  height: rowHeight,
  head: () => $("scroller").querySelector("thead").offsetHeight,
  parent: () => $("body"),
  clear: () => $("body").replaceChildren(gap(), gap()),
  end: () => $("body").lastChild,
  gaps: (above, below) => {
    $("body").firstChild.firstChild.style.height = `${above}px`;
    $("body").lastChild.firstChild.style.height = `${below}px`;
  },
  draw: (at) => drawRow(view[at], at),
};
let shape = TABLE;
let [columns, height] = [1, rowHeight()];

const redraw = () => {
  drawn.clear();
  [columns, height] = [shape.columns(), shape.height()];
  shape.clear();
  render();
};
const render = () => {
  const box = $("scroller");
  const lines = Math.ceil(view.length / columns);
  const first = printing ? 0 : Math.max(0, Math.floor(box.scrollTop / height) - OVERSCAN);
  const last = printing ? Math.ceil(PRINTED / columns) : Math.ceil((box.scrollTop + box.clientHeight) / height) + OVERSCAN;
  const [start, end] = [first * columns, Math.min(view.length, last * columns)];
  for (const [at, node] of drawn) if (at < start || at >= end) { node.remove(); drawn.delete(at); }
  let after = null; // backwards, so that each new node has the one after it to stand before
  for (let at = end - 1; at >= start; at--) {
    const node = drawn.get(at) ?? redrawn(at);
    if (!node.isConnected) shape.parent().insertBefore(node, after ?? shape.end());
    after = node;
  }
  shape.gaps(first * height, printing ? 0 : Math.max(0, lines - Math.ceil(end / columns)) * height);
};
const redrawn = (at) => {
  const node = shape.draw(at);
  drawn.set(at, node);
  return node;
};
const refresh = (changed) => {
  for (const at of changed.map((row) => position.get(row))) {
    const old = drawn.get(at);
    if (!old) continue;
    const held = old.contains(document.activeElement); // or the next key would go nowhere
    const node = redrawn(at);
    old.replaceWith(node);
    if (held) node.focus({ preventScroll: true });
  }
  if (changed.includes(current)) showDetail();
};
const drawRow = (row, at) => {
  const path = get(row, "path");
  const issue = issueOf(row);
  return el("tr", { "aria-rowindex": at + 2, "aria-selected": row === current, tabindex: row === current ? 0 : -1, onclick: () => select(row) },
    el("td", { class: "c-thumb" }, preview(row) ? picture(preview(row)) : null),
    el("td", { class: "c-id" }, el("div", { class: "two", text: shortId(row), title: path ?? idOf(row) }),
      el("div", { class: "one note", title: settled(row), text: settled(row) || (issue === "none" ? "no issue found" : data.issues[issue] ?? issue) })),
    el("td", { class: "c-labels" }, el("div", { class: "one", title: labelsOf(row).join(" → ") },
      ...(suggested(row) === null ? labelsOf(row) : change(...labelsOf(row))))),
    el("td", { class: "c-p figure" }, chance(get(row, "p")), meter(get(row, "p") ?? 0)),
    el("td", { class: "c-mark" }, marks(row), ...outcome(row)));
};

// Which row is selected.

const select = (row, scroll = true) => {
  const old = drawn.get(place);
  if (old) { old.setAttribute("aria-selected", "false"); old.tabIndex = -1; }
  current = row;
  place = position.get(row) ?? place;
  if (position.has(row)) {
    if (scroll) reveal();
    const node = drawn.get(place);
    if (node) {
      node.setAttribute("aria-selected", "true");
      node.tabIndex = 0;
      if (scroll && !node.contains(document.activeElement)) node.focus({ preventScroll: true });
    }
  }
  showDetail();
};
const reveal = () => {
  const box = $("scroller");
  const head = shape.head();
  const top = Math.floor(place / columns) * height;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + height + head > box.scrollTop + box.clientHeight) box.scrollTop = top + height + head - box.clientHeight;
  render();
};
const visit = (row) => select(row); // also a row that the filter hides: its place in the list stays
const move = (step) => {
  if (view.length) select(view[Math.min(Math.max((position.get(current) ?? place) + step, 0), view.length - 1)]);
};
// The next row without a decision, from the top after the last one; the same row where all are decided. After a row that
// the filter hides it is the row that was left for it.
const next = () => {
  const start = position.get(current) ?? place - 1;
  for (let step = 1; step <= view.length; step++) {
    const row = view[(start + step) % view.length];
    if (!decided(row)) return select(row);
  }
  move(0);
};

$("scroller").addEventListener("scroll", render, { passive: true });
addEventListener("resize", redraw);
addEventListener("beforeprint", () => {
  printing = true;
  setShape(TABLE);
  $("paper").textContent = view.length > PRINTED ? `On paper: the first ${PRINTED} of these rows.` : "";
  render();
});
addEventListener("afterprint", () => { printing = false; render(); });
