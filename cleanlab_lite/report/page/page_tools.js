// The strip above the rows: search, filters, order.

const fill = (select, entries) => select.append(...entries.map(([value, text]) => el("option", { value, text })));
const showTools = () => {
  const seen = new Map();
  const noted = new Map();
  const used = { given: new Set(), suggested: new Set() };
  for (let row = 0; row < rows.length; row++) for (const note of notesOf(row)) noted.set(note, (noted.get(note) ?? 0) + 1);
  for (const row of rows) {
    seen.set(row[F.issue], (seen.get(row[F.issue]) ?? 0) + 1);
    for (const name of ["given", "suggested"]) if (Number.isInteger(row[F[name]])) used[name].add(row[F[name]]);
  }
  const suspects = rows.length - (seen.get("none") ?? 0);
  fill($("show"), [["suspects", `all with an issue (${count(suspects)})`],
    ...Object.keys(data.issues).filter((issue) => issue !== "none" && seen.has(issue)).map((issue) => [issue, `${data.issues[issue]} (${count(seen.get(issue))})`]),
    ...[...noted].map(([note, n]) => [note, `noted: ${note.replaceAll("_", " ")} (${count(n)})`]),
    ["all", `all rows (${count(rows.length)})`]]);
  if (!suspects) $("show").value = "all";
  for (const name of ["given", "suggested"])
    fill($(name), [...used[name]].map((i) => [i, names[i]]).sort((a, b) => (a[1] < b[1] ? -1 : 1)));
};
const reset = (draw = true) => {
  for (const id of ["search", "given", "suggested", "decision"]) $(id).value = "";
  $("show").selectedIndex = 0;
  only = null;
  if (lasso.length) { lasso = []; drawMap(); }
  sort = { by: "", down: false };
  if (draw) refilter();
};
for (const id of ["show", "given", "suggested", "decision"]) $(id).addEventListener("change", refilter);
$("search").addEventListener("input", refilter);
for (const id of ["reset", "reset2"]) $(id).addEventListener("click", () => reset());
