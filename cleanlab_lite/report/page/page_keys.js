// The keys, and the start.

const help = () => $("help").showModal();
$("keys").replaceChildren(...data.keys.flatMap(([key, meaning]) => [
  el("dt", {}, ...key.split(" ").map((one) => el("kbd", { text: one }))), el("dd", { text: meaning })]));
$("show-keys").addEventListener("click", help);
$("help-close").addEventListener("click", () => $("help").close());

const search = () => { $("rows").scrollIntoView(); $("search").focus(); $("search").select(); };
const inSight = () => {
  const { top, bottom } = $("scroller").getBoundingClientRect();
  return top < innerHeight / 2 && bottom > innerHeight / 2;
};
const command = (key) => {
  const lines = shape === GRID ? columns : 1;
  const of = (act) => () => { if (current >= 0) act(current); }; // the selected row
  const pair = (row) => [get(row, "given"), get(row, "suggested")];
  if (/^[1-9]$/.test(key)) return of((row) => { const index = probable(row)[Number(key) - 1]; if (index !== undefined) give(row, labels[index], true); });
  return {
    ArrowDown: () => move(lines), ArrowUp: () => move(-lines), ArrowRight: () => move(1), ArrowLeft: () => move(-1),
    PageDown: () => move(4 * lines), PageUp: () => move(-4 * lines),
    k: of((row) => decide(row, "keep", null, true)), a: of((row) => accept(row, true)), l: of((row) => choose(row, true)),
    d: of((row) => decide(row, "drop", null, true)), u: of((row) => decide(row, "unsure", null, true)),
    s: next, z: undo, b: of((row) => { if (!pair(row).includes(null)) askBulk(...pair(row)); }),
    f: () => { $("rows").scrollIntoView(); $("show").focus(); }, "/": search,
    " ": of((row) => ($("zoom").open ? $("zoom").close() : zoom(row))),
    g: () => setShape(shape === GRID ? TABLE : GRID),
    p: of((row) => play(sound(row))), "?": help,
  }[key];
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("chooser").open || $("bulk").open) return;
  if ($("help").open) {
    $("help").close();
    event.preventDefault();
    return;
  }
  if (event.key === "Escape") {
    if ($("zoom").open) return; // closes itself
    document.activeElement.blur();
    if (current >= 0) select(current);
    return;
  }
  if (event.target.matches("input, select, audio") || (event.key === " " && event.target.matches("button, summary, a"))) return;
  const act = command(event.key);
  // where the rows are not in sight arrows and the space bar scroll the page, as everywhere
  const scrolls = event.key.startsWith("Arrow") || event.key.startsWith("Page") || event.key === " ";
  if (!act || (scrolls && !event.target.closest("#rows, #zoom") && !inSight())) return;
  event.preventDefault();
  act();
});

if (![...details.values()].some((detail) => detail[0])) document.body.classList.add("bare");
load();
showTools();
showConfusions();
showCopies();
refilter();
showMap();
showProgress();
document.documentElement.dataset.ready = Math.round(performance.now());
