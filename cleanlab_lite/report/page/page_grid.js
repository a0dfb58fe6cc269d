// The same rows as pictures, like a contact sheet.

const TILE = 172; // pixels, at least so wide
const GRID = {
  columns: () => Math.max(2, Math.floor($("grid").clientWidth / TILE)),
  height: () => parseInt(getComputedStyle(document.documentElement).getPropertyValue("--tile"), 10),
  head: () => 0,
  parent: () => $("grid"),
  clear: () => {
    $("grid").replaceChildren();
    $("grid").style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  },
  end: () => null,
  gaps: (above, below) => {
    $("grid").style.paddingTop = `${above}px`;
    $("grid").style.paddingBottom = `${below}px`;
  },
  draw: (at) => drawTile(view[at], at),
};
const drawTile = (row, at) => {
  const done = decided(row);
  return el("div", { class: done ? "tile-row done" : "tile-row", role: "option", "aria-selected": row === current, tabindex: row === current ? 0 : -1,
    "aria-posinset": at + 1, "aria-setsize": view.length, onclick: () => select(row), ondblclick: () => zoom(row) },
    el("div", { class: "face" }, preview(row) ? picture(preview(row), idOf(row)) : el("span", { class: "two note", text: idOf(row) })),
    el("div", { class: "one", title: labelsOf(row).join(" → ") }, ...(suggested(row) === null ? labelsOf(row) : change(...labelsOf(row)))),
    done ? el("div", { class: "marked one", text: verdict(row) })
      : el("div", { class: "share" }, el("span", { class: "note figure", text: chance(get(row, "p")) }), meter(get(row, "p") ?? 0)));
};
const setShape = (wanted) => {
  shape = wanted;
  $("table").hidden = shape !== TABLE;
  $("grid").hidden = shape !== GRID;
  $("as-table").setAttribute("aria-pressed", shape === TABLE);
  $("as-grid").setAttribute("aria-pressed", shape === GRID);
  redraw();
  if (position.has(current)) select(current);
};
$("as-table").addEventListener("click", () => setShape(TABLE));
$("as-grid").addEventListener("click", () => setShape(GRID));
