// Decisions: an append-only journal, as in decisions.py. The latest line about a row counts, an undo takes one back.

const KEY = `nlclean:${data.run}`;
const NAMES = { keep: "Keep", relabel: "Label", drop: "Drop", unsure: "Unsure" };
// what the run held when the page was made
const before = new Map(data.decided.map(([row, action, to, reviewer]) => [row, { action, label: to === null ? null : labels[to], reviewer }]));
let journal = []; // decided here
let standing = new Map(); // id -> decisions of the row that are not undone
// where `nlclean review --web` serves the page, the run folder keeps the journal: page_served.js
const SERVED = "served" in document.documentElement.dataset;
const others = new Map(); // row -> what other reviewers say of it, in words
let unsaved = false; // decided since the last download, and the browser keeps nothing

// Every decision passes here, one or several at a time, undone ones as well.
const record = (decisions) => {
  journal.push(...decisions);
  decisions.forEach(apply);
  save();
  document.dispatchEvent(new CustomEvent("decided", { detail: decisions }));
  refresh(decisions.map((decision) => rowOf(decision.id)).flatMap((row) => [row, ...copiesOf(row)]));
  showProgress();
};
const apply = (decision) => {
  const taken = standing.get(decision.id) ?? [];
  if (decision.action === "undo") taken.pop();
  else taken.push(decision);
  standing.set(decision.id, taken);
};
const made = (row, action, to = null, batch = undefined) => {
  const time = new Date().toISOString().slice(0, 19) + "+00:00";
  return { id: idOf(row), action, given_label: given(row), label: to, time, batch };
};
const own = (row) => standing.get(idOf(row))?.at(-1) ?? null;
const decided = (row) => own(row) ?? before.get(row) ?? null;

let places = null; // id -> row
const rowOf = (id) => {
  places ??= new Map(rows.map((row, i) => [row[F.id], i]));
  return places.get(id) ?? -1;
};
const load = () => {
  journal = [];
  try {
    const kept = JSON.parse((SERVED ? sessionStorage : localStorage).getItem(KEY) ?? "{}");
    $("reviewer").value = typeof kept.reviewer === "string" ? kept.reviewer : "";
    if (Array.isArray(kept.journal)) journal = kept.journal;
  } catch {
    $("storage").hidden = false; // no storage for this file, or what is in it is not ours
  }
  standing = new Map();
  journal.forEach(apply);
};
const save = () => {
  try {
    const reviewer = $("reviewer").value;
    if (SERVED) sessionStorage.setItem(KEY, JSON.stringify({ reviewer }));
    else localStorage.setItem(KEY, JSON.stringify({ reviewer, journal }));
  } catch {
    if (SERVED) return;
    unsaved = journal.length > 0;
    $("storage").hidden = false;
  }
};

// What a person can do with a row. `then` goes on to the next row that is not decided.
const decide = (row, action, to = null, then = false) => {
  const again = own(row)?.action === action && own(row).label === to;
  record([made(row, again ? "undo" : action, again ? null : to)]);
  if (then && !again) next();
};
const give = (row, to, then = false) => (to === given(row) ? decide(row, "keep", null, then) : decide(row, "relabel", to, then));
const accept = (row, then = false) => { if (suggested(row) !== null) give(row, suggested(row), then); };
const undo = () => {
  const latest = journal.findLast((decision) => standing.get(decision.id)?.at(-1) === decision);
  if (!latest) return;
  const whole = latest.batch === undefined ? [latest]
    : journal.filter((decision) => decision.batch === latest.batch && standing.get(decision.id)?.at(-1) === decision);
  const undone = whole.map((decision) => rowOf(decision.id)).filter((row) => row >= 0);
  record(undone.map((row) => made(row, "undo")));
  if (undone.length) visit(undone[0]);
};

// All rows of a confused pair at once, after a look at what that means.
const undecided = (from, to) => {
  const found = [];
  for (let row = 0; row < rows.length; row++)
    if (get(row, "given") === from && get(row, "suggested") === to && issueOf(row) !== "none" && !decided(row)) found.push(row);
  return found;
};
let offered = []; // rows of the question on show
const askBulk = (from, to) => {
  offered = undecided(from, to);
  if (!offered.length) return;
  const sure = (row) => get(row, "confidence") ?? 0;
  const right = Math.round(offered.reduce((sum, row) => sum + sure(row), 0));
  const doubtful = [...offered].sort((a, b) => sure(a) - sure(b)).slice(0, 12);
  const pictures = doubtful.filter(preview);
  const one = offered.length === 1;
  $("bulk-title").replaceChildren(one ? "Accept " : `Accept all ${count(offered.length)} of `, ...change(names[from], names[to]), "?");
  $("bulk-means").textContent = one ? `One row, whose suggestion is right with ${chance(sure(offered[0]))}. Undo (z) takes it back.`
    : `By their probabilities about ${count(right)} of them are right and ${count(offered.length - right)} wrong. One undo (z) takes all of it back.`;
  $("bulk-doubt").textContent = pictures.length > 1 ? "The least certain of them first:" : "";
  $("bulk-rows").replaceChildren(...pictures.map((row) => el("span", {}, picture(preview(row), idOf(row)), el("span", { class: "note", text: chance(sure(row)) }))));
  $("bulk-ok").textContent = `Accept ${count(offered.length)}`;
  $("bulk").showModal();
  $("bulk-ok").focus();
};
$("bulk-cancel").addEventListener("click", () => $("bulk").close());
$("bulk-form").addEventListener("submit", (event) => {
  event.preventDefault(); // closed by hand: the dialog's own event comes later than the next key may
  $("bulk").close();
  const batch = journal.length; // no other has it: the journal only grows
  record(offered.map((row) => made(row, "relabel", suggested(row), batch)));
  next();
});

const showProgress = () => {
  const counts = {};
  for (const taken of standing.values()) if (taken.length) counts[taken.at(-1).action] = (counts[taken.at(-1).action] ?? 0) + 1;
  const total = Object.values(counts).reduce((a, b) => a + b, 0);
  const parts = Object.keys(NAMES).filter((name) => counts[name]).map((name) => `${counts[name]} ${NAMES[name].toLowerCase()}`);
  $("progress").textContent = (total ? `${count(total)} decided` : "no decision yet") + (before.size ? `, ${count(before.size)} in the run` : "");
  $("progress").title = parts.join(", ");
  $("download").disabled = !journal.length;
};
const download = () => {
  const reviewer = $("reviewer").value.trim();
  const lines = journal.map(({ id, action, given_label, label, time }) =>
    JSON.stringify({ id, action, given_label, label, reviewer, time }) + "\n");
  const url = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  el("a", { href: url, download: $("journal-name").textContent }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  unsaved = false;
};
$("download").addEventListener("click", download);
$("reviewer").addEventListener("change", save);
addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
addEventListener("storage", (event) => { if (event.key === KEY) { load(); redraw(); showDetail(); showProgress(); } });

// The buttons of a row.
const pressed = (row, action) => {
  const decision = decided(row);
  if (action === "accept") return decision?.action === "relabel" && decision.label === suggested(row);
  return decision?.action === action && !(action === "relabel" && decision.label === suggested(row));
};
const marks = (row) => {
  const act = { accept: () => accept(row), relabel: () => choose(row, false) };
  const actions = { ...(suggested(row) === null ? {} : { accept: "Accept" }), ...NAMES };
  return el("div", { class: "marks", role: "group", "aria-label": `Decision about ${idOf(row)}` },
    ...Object.entries(actions).map(([action, name]) => button(name, (event) => {
      event.stopPropagation();
      visit(row);
      (act[action] ?? (() => decide(row, action)))();
    }, { "data-action": action, title: `key ${name[0].toLowerCase()}`, "aria-keyshortcuts": name[0].toLowerCase(), "aria-pressed": pressed(row, action) })));
};
const verdict = (row) => {
  const decision = decided(row);
  if (!decision) return "";
  const who = own(row) ? "" : ` by ${decision.reviewer || "somebody"}`;
  return inWords(decision) + who;
};
const inWords = (decision) => NAMES[decision.action].toLowerCase() + (decision.label === null ? "" : ` → ${named(decision.label)}`);
const remarks = (row) => (others.has(row) ? el("p", { class: "note text", text: others.get(row) }) : null);
// A line below the buttons: what was decided here, and by others.
const outcome = (row) => {
  const text = [verdict(row), others.get(row)].filter(Boolean).join(" · ");
  return text ? [el("div", { class: decided(row) ? "marked one" : "note one", text, title: text })] : [];
};

// The chooser of a label.

let chosenFor = -1;
let goOn = false; // to the next row, afterwards
const choose = (row, then) => {
  chosenFor = row;
  goOn = then;
  $("chooser-row").textContent = `${idOf(row)}, labelled ${label(get(row, "given"))}`;
  $("chooser-search").value = "";
  offer(decided(row)?.label ?? suggested(row));
  $("chooser").showModal();
  $("chooser-search").focus();
};
const offer = (first = null) => {
  const wanted = $("chooser-search").value.toLowerCase();
  const hint = get(chosenFor, "suggested");
  const order = [...new Set([hint, ...probable(chosenFor), ...labels.slice(0, data.choices).keys()])]
    .filter((i) => i !== null && i < data.choices && names[i].toLowerCase().includes(wanted)).slice(0, 500);
  $("chooser-list").replaceChildren(...order.map((i) => el("option", { value: i, text: i === hint ? `${names[i]} (suggested)` : names[i] })));
  const at = first === null ? 0 : order.indexOf(labels.indexOf(first));
  $("chooser-list").selectedIndex = order.length ? Math.max(at, 0) : -1;
  $("chooser-ok").disabled = !order.length;
};
$("chooser-search").addEventListener("input", () => offer());
$("chooser-search").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const list = $("chooser-list");
  list.selectedIndex = Math.min(Math.max(list.selectedIndex + step, 0), list.length - 1);
});
$("chooser-list").addEventListener("dblclick", () => $("chooser-ok").click());
$("chooser-list").addEventListener("keydown", (event) => { if (event.key === "Enter") $("chooser-ok").click(); });
$("chooser-cancel").addEventListener("click", () => $("chooser").close());
$("chooser-form").addEventListener("submit", (event) => {
  event.preventDefault(); // closed by hand, as above
  const text = labels[Number($("chooser-list").value)];
  $("chooser").close();
  const same = decided(chosenFor)?.label === text && own(chosenFor); // chosen again: it stays
  if (!same) give(chosenFor, text);
  if (goOn) next();
  else visit(chosenFor);
});
