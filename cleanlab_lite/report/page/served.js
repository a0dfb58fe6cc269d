"use strict";
// The page as `nlclean review --web` serves it: decisions go into the run folder at once, those of others come back.
(() => {
  const EVERY = 3000; // ms between looks at what others have decided
  const WORDS = { keep: "keep", relabel: "fix", drop: "drop", unsure: "unsure" };
  const $ = (id) => document.getElementById(id);
  const lines = []; // the journal of the run, of all reviewers
  const unsaved = []; // decisions of this page that are not in it yet
  let login = ""; // who decides, where the page does not say
  let busy = false;

  const reviewer = () => $("reviewer").value.trim() || login;

  // What the page shows: the decisions of its reviewer, and a word on those of others.
  const show = () => {
    const own = [];
    const standing = new Map(); // id -> reviewer -> decisions that are not undone
    for (const line of [...lines, ...unsaved]) {
      if (line.reviewer === reviewer()) {
        own.push(line);
        continue;
      }
      if (!standing.has(line.id)) standing.set(line.id, new Map());
      const by = standing.get(line.id);
      if (!by.has(line.reviewer)) by.set(line.reviewer, []);
      if (line.action === "undo") by.get(line.reviewer).pop();
      else by.get(line.reviewer).push(line);
    }
    const others = new Map();
    for (const [id, by] of standing) {
      const texts = [...by].filter(([, taken]) => taken.length).map(([who, taken]) =>
        `${who || "someone"}: ${WORDS[taken.at(-1).action]}${taken.at(-1).label === null ? "" : ` → ${taken.at(-1).label}`}`);
      if (texts.length) others.set(id, texts);
    }
    document.dispatchEvent(new CustomEvent("journal", { detail: { own, others } }));
  };

  const complain = (text) => {
    $("storage").textContent = text;
    $("storage").hidden = !text;
  };
  const waiting = () => `${unsaved.length} ${unsaved.length === 1 ? "decision is" : "decisions are"} not on disk yet`;

  // One request at a time, so that decisions reach the file in the order in which they were made.
  const exchange = async () => {
    if (busy) return;
    busy = true;
    const sent = unsaved.length;
    const body = JSON.stringify(unsaved.map(({ id, action, label, reviewer }) => ({ id, action, label, reviewer })));
    try {
      const answer = await fetch(`decisions?after=${lines.length}`,
        sent ? { method: "POST", headers: { "Content-Type": "application/json" }, body } : {});
      if (!answer.ok) {
        if (answer.status === 400) unsaved.splice(0, sent); // it will never be taken
        throw new Error(await answer.text());
      }
      const found = await answer.json();
      const first = login === "";
      login = found.login;
      $("reviewer").placeholder = login;
      unsaved.splice(0, sent);
      lines.length = found.from;
      lines.push(...found.decisions);
      if (first || found.decisions.length > sent) show();
      complain("");
    } catch (error) {
      const reason = error instanceof TypeError ? "nlclean review has been closed" : error.message;
      complain(`${reason}. ${unsaved.length ? waiting() : "All decisions are on disk"}.`);
    }
    busy = false;
    document.documentElement.dataset.unsaved = unsaved.length;
    if (unsaved.length > sent) await exchange(); // decided meanwhile
  };

  document.addEventListener("decided", ({ detail }) => {
    unsaved.push({ ...detail, reviewer: reviewer() });
    document.documentElement.dataset.unsaved = unsaved.length;
    exchange();
  });
  $("reviewer").addEventListener("change", show);
  addEventListener("beforeunload", (event) => { if (unsaved.length) event.preventDefault(); });
  $("download").hidden = true;
  $("journal-name").closest("p").textContent =
    "Each is in decisions.jsonl of the run folder as soon as it is made; nlclean export then follows them.";
  exchange();
  setInterval(exchange, EVERY);
})();
