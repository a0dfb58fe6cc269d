// Galleries above the rows: confused pairs, classes that overlap, copies.

const GROUPS = 12; // of copies on show at once

// Rows of the same or nearly the same content, under the id of the first of them.
const groupOf = (row) => get(row, "duplicate") ?? get(row, "near") ?? idOf(row);
const alike = new Map();
for (let row = 0; row < rows.length; row++) if (get(row, "duplicate") ?? get(row, "near")) alike.set(groupOf(row), []);
for (let row = 0; alike.size && row < rows.length; row++) alike.get(groupOf(row))?.push(row);
const copiesOf = (row) => (alike.get(groupOf(row)) ?? []).filter((other) => other !== row);
// Of the labels of one content at most one is right: what was decided of a contradicting copy, "" where nothing was.
const settled = (row) => {
  if (issueOf(row) !== "duplicate_conflict") return "";
  const content = (one) => get(one, "duplicate") ?? idOf(one);
  const found = copiesOf(row).find((other) => content(other) === content(row) && ["keep", "relabel"].includes(decided(other)?.action));
  if (found === undefined) return "";
  const { action, label: to } = decided(found);
  return `its copy was ${action === "keep" ? "kept as" : "relabelled"} ${named(to ?? given(found))}`;
};

const showPair = (from, to) => {
  reset(false);
  $("given").value = from;
  $("suggested").value = to;
  refilter();
  $("rows").scrollIntoView();
};
// A class of the table and a cell of the matrix show their rows, too.
document.addEventListener("click", (event) => {
  const { given: from, true: to } = event.target.closest("[data-given]")?.dataset ?? {};
  if (from !== undefined && names.includes(from)) showPair(names.indexOf(from), to === undefined || to === from ? "" : names.indexOf(to));
});
const showOverlaps = () => $("overlaps").replaceChildren(...data.overlaps.map(([a, b, sentence]) =>
  el("div", { class: "card" }, el("p", { class: "text", text: sentence }), ...[a, b].flatMap(typical))));
const showConfusions = () => {
  $("confusions").hidden = !data.confusions.length && !data.overlaps.length;
  showOverlaps();
  const strips = new Map(data.confusions.map(([from, to]) => [`${from}:${to}`, []]));
  for (const row of details.keys()) {
    const strip = strips.get(`${get(row, "given")}:${get(row, "suggested")}`);
    if (strip && strip.length < 5 && preview(row)) strip.push(preview(row));
  }
  $("pairs").replaceChildren(...data.confusions.map(([from, to, n, expected]) => {
    const strip = strips.get(`${from}:${to}`);
    return el("div", { class: "card pair-card" },
      el("button", { type: "button", class: "plain", onclick: () => showPair(from, to) },
        el("span", { class: "one" }, ...change(names[from], names[to])),
        el("span", { class: "note", text: `${numbered(n, "row")}, about ${count(expected)} really ${names[to]}` }),
        strip.length ? el("span", { class: "strip" }, ...strip.map((image) => picture(image))) : null),
      button(n === 1 ? "Accept …" : "Accept all …", () => askBulk(from, to), { class: "bulk", "aria-label": `Accept ${n === 1 ? "" : "all of "}${names[from]} to ${names[to]}` }));
  }));
};

// Copies that contradict each other first, then those that splits share, then the others.
const kindOf = (group) => {
  const differ = (name) => new Set(group.map((row) => get(row, name))).size > 1;
  const split = differ("split") ? " in different splits" : "";
  return `with ${differ("given") ? "different labels" : "the same label"}${split}`;
};
const KINDS = ["with different labels", "with different labels in different splits", "with the same label in different splits", "with the same label"];
let groupsShown = GROUPS;
const showCopies = () => {
  const groups = [...alike.values()].filter((group) => group.length > 1).map((group) => [kindOf(group), group]);
  groups.sort((a, b) => KINDS.indexOf(a[0]) - KINDS.indexOf(b[0]) || a[1][0] - b[1][0]);
  $("copies").hidden = $("to-copies").hidden = !groups.length;
  $("copies-note").textContent = KINDS.map((kind) => [groups.filter(([own]) => own === kind).length, kind])
    .filter(([n]) => n).map(([n, kind]) => `${numbered(n, "group")} ${kind}`).join(", ") + ".";
  $("groups").replaceChildren(...groups.slice(0, groupsShown).map(([kind, group]) => el("div", { class: "card group" },
    el("h3", { text: `${group.some((row) => get(row, "near")) ? "nearly the same" : "the same"}, ${kind}` }),
    el("div", { class: "minis two-wide" }, ...group.slice(0, 6).map((row) => {
      const split = get(row, "split") === null ? "" : ` · ${data.splits[get(row, "split")]}`;
      return card(row, label(get(row, "given")) + split);
    })),
    group.length > 6 ? el("p", { class: "note", text: `and ${count(group.length - 6)} more` }) : null)));
  $("more-groups").hidden = groups.length <= groupsShown;
  $("more-groups").textContent = `Show ${count(Math.min(groups.length - groupsShown, 4 * GROUPS))} more`;
};
$("more-groups").addEventListener("click", () => { groupsShown += 4 * GROUPS; showCopies(); });
