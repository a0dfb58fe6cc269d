// The page as `nlclean review --web` serves it: decisions go into the run folder at once, those of others come back.

const EVERY = 3000; // ms between looks at what others have decided
const lines = []; // the journal of the run, of all reviewers
const pending = []; // decisions of this page that are not in it yet
let login = ""; // who decides, where the page does not say
let busy = false;
const reviewer = () => $("reviewer").value.trim() || login;

// What the page shows: the decisions of its reviewer, and a word on those of others.
const said = (row) => JSON.stringify([own(row)?.action, own(row)?.label, others.get(row)]);
const recount = () => {
  const shown = new Set([...drawn.keys()].map((at) => view[at]));
  if (current >= 0) shown.add(current);
  const former = new Map([...shown].map((row) => [row, said(row)]));
  const all = [...lines, ...pending];
  journal = all.filter((line) => line.reviewer === reviewer());
  standing = new Map();
  journal.forEach(apply);
  const by = new Map(); // row and reviewer -> decisions that are not undone
  for (const line of all) {
    if (line.reviewer === reviewer()) continue;
    const key = JSON.stringify([rowOf(line.id), line.reviewer || "somebody"]);
    if (!by.has(key)) by.set(key, []);
    if (line.action === "undo") by.get(key).pop();
    else by.get(key).push(line);
  }
  others.clear();
  for (const [key, taken] of by) {
    const [row, who] = JSON.parse(key);
    if (taken.length) others.set(row, (others.has(row) ? `${others.get(row)} · ` : "") + `${who}: ${inWords(taken.at(-1))}`);
  }
  refresh([...shown].filter((row) => said(row) !== former.get(row)));
  showProgress();
};

const complain = (text) => {
  $("storage").textContent = text;
  $("storage").hidden = !text;
};
const counted = () => { document.documentElement.dataset.unsaved = pending.length; };

// One request at a time, so that decisions reach the file in the order in which they were made.
const exchange = async () => {
  if (busy) return;
  busy = true;
  const sent = pending.slice(0, 1000);
  const body = JSON.stringify(sent.map(({ id, action, label, reviewer }) => ({ id, action, label, reviewer })));
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  let done = false;
  try {
    const answer = await fetch(`decisions?after=${lines.length}`, sent.length ? post : {});
    if (!answer.ok) {
      if (answer.status === 400) pending.splice(0, sent.length); // it will never be taken
      throw new Error(await answer.text());
    }
    const found = await answer.json();
    const first = login === "";
    login = found.login;
    $("reviewer").placeholder = login;
    pending.splice(0, sent.length);
    lines.length = found.from;
    // the file does not know which of them were one step, to be undone together; what was sent comes last
    const mine = found.decisions.length - sent.length;
    lines.push(...found.decisions.map((line, i) => (i < mine ? line : { ...line, batch: sent[i - mine].batch })));
    if (first || mine > 0) recount();
    complain("");
    done = true;
  } catch (error) {
    const reason = error instanceof TypeError ? "nlclean review has been closed" : error.message;
    complain(`${reason}. ${pending.length ? `${numbered(pending.length, "decision")} not on disk yet` : "All decisions are on disk"}.`);
  }
  busy = false;
  counted();
  if (done && pending.length) await exchange(); // decided meanwhile
};

document.addEventListener("decided", ({ detail }) => {
  for (const decision of detail) decision.reviewer = reviewer();
  pending.push(...detail);
  counted();
  exchange();
});
$("reviewer").addEventListener("change", recount);
addEventListener("beforeunload", (event) => { if (pending.length) event.preventDefault(); });
$("download").hidden = true;
$("journal-name").closest("p").textContent =
  "Each is in decisions.jsonl of the run folder as soon as it is made; nlclean export then follows them.";
exchange();
setInterval(exchange, EVERY);
