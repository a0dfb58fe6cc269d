"use strict";
// The table of rows, the decisions, and their journal. Text of strangers reaches the page through textContent only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const F = Object.fromEntries(data.fields.map((name, i) => [name, i]));
  const { rows, details, labels } = data;
  const $ = (id) => document.getElementById(id);
  const PRINTED = 38; // rows on paper
  const OVERSCAN = 6; // rows drawn above and below the visible ones
  const SMALL = 48; // pixels: smaller pictures are enlarged without blur
  const NAMES = { keep: "Keep", relabel: "Fix", drop: "Drop", unsure: "Unsure" }; // their first letters are the keys

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
  const get = (row, name) => rows[row][F[name]] ?? null;
  const label = (index) => (index === null ? "no label" : labels[index]);
  const given = (row) => (get(row, "given") === null ? null : labels[get(row, "given")]);
  const percent = (p) => (p === null ? "–" : `${Math.round(100 * p)} %`);
  const count = (n) => n.toLocaleString("en");
  const picture = (source, about = "") => {
    const image = el("img", { src: source, alt: about, decoding: "async" });
    image.addEventListener("load", () => image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) < SMALL));
    return image;
  };
  const preview = (row) => details[row]?.[0] || null;
  const inFull = (source) => source.replace(/^preview\//, "picture/"); // where the page is served

  // Decisions: an append-only journal, as in decisions.py. The latest line about a row counts, an undo takes one back.

  const KEY = `nlclean:${data.run}`;
  const SERVED = "served" in document.documentElement.dataset; // served.js keeps the journal then
  let journal = [];
  let standing = new Map(); // id -> decisions of the row that are not undone
  let unsaved = false; // decided since the last download, and the browser keeps nothing

  const load = () => {
    journal = [];
    try {
      const kept = JSON.parse((SERVED ? sessionStorage : localStorage).getItem(KEY) ?? "{}");
      $("reviewer").value = typeof kept.reviewer === "string" ? kept.reviewer : "";
      if (Array.isArray(kept.journal)) journal = kept.journal;
    } catch {
      $("storage").hidden = false; // no storage for this file, or what is in it is not ours
    }
    recount();
  };
  const recount = () => {
    standing = new Map();
    journal.forEach(apply);
  };
  const apply = (decision) => {
    const taken = standing.get(decision.id) ?? [];
    if (decision.action === "undo") taken.pop();
    else taken.push(decision);
    standing.set(decision.id, taken);
  };
  const save = () => {
    try {
      if (SERVED) sessionStorage.setItem(KEY, JSON.stringify({ reviewer: $("reviewer").value }));
      else localStorage.setItem(KEY, JSON.stringify({ reviewer: $("reviewer").value, journal }));
    } catch {
      if (SERVED) return;
      unsaved = journal.length > 0;
      $("storage").hidden = false;
    }
  };
  const decided = (row) => standing.get(rows[row][F.id])?.at(-1) ?? null;
  const write = (row, action, newLabel = null) => {
    const time = new Date().toISOString().slice(0, 19) + "+00:00";
    const decision = { id: rows[row][F.id], action, given_label: given(row), label: newLabel, time };
    journal.push(decision);
    apply(decision);
    save();
    document.dispatchEvent(new CustomEvent("decided", { detail: decision }));
    drawn.get(position.get(row))?.replaceWith(draw(position.get(row)));
    if (row === current) showDetail();
    showProgress();
  };
  const mark = (row, action, then = false) => {
    if (action === "relabel") return choose(row, then);
    const again = decided(row)?.action === action;
    write(row, again ? "undo" : action);
    if (then && !again) move(1);
  };
  const undo = () => {
    const index = journal.findLastIndex((decision) => standing.get(decision.id)?.at(-1) === decision);
    const row = index < 0 ? -1 : rows.findIndex((r) => r[F.id] === journal[index].id);
    if (row < 0) return;
    write(row, "undo");
    if (position.has(row)) select(row);
  };
  const showProgress = () => {
    const counts = {};
    for (const taken of standing.values()) if (taken.length) counts[taken.at(-1).action] = (counts[taken.at(-1).action] ?? 0) + 1;
    const total = Object.values(counts).reduce((a, b) => a + b, 0);
    const parts = Object.keys(NAMES).filter((name) => counts[name]).map((name) => `${counts[name]} ${NAMES[name].toLowerCase()}`);
    $("progress").textContent = total ? `${count(total)} decided` : "no decision yet";
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

  // Where the page is served, the journal comes from there: rows about which it says something new are drawn again.
  let others = new Map(); // id -> what other reviewers say of the row
  const said = (row) => JSON.stringify([decided(row)?.action, decided(row)?.label, others.get(rows[row][F.id])]);
  document.addEventListener("journal", ({ detail }) => {
    const before = new Map([...drawn.keys()].map((place) => [place, said(view[place])]));
    const selected = current < 0 ? null : said(current);
    journal = detail.own;
    others = detail.others;
    recount();
    for (const [place, text] of before) {
      if (said(view[place]) === text) continue;
      const node = drawn.get(place);
      const focused = node.contains(document.activeElement);
      node.replaceWith(draw(place));
      if (focused) drawn.get(place).focus({ preventScroll: true });
    }
    if (current >= 0 && said(current) !== selected) showDetail();
    showProgress();
  });

  // The chooser of a label.

  let chosenFor = -1;
  let goOn = false; // to the next row, afterwards
  const choose = (row, then) => {
    chosenFor = row;
    goOn = then;
    $("chooser-row").textContent = `${rows[row][F.id]}, labelled ${label(get(row, "given"))}`;
    $("chooser-search").value = "";
    offer(decided(row)?.label ?? (get(row, "suggested") === null ? null : labels[get(row, "suggested")]));
    $("chooser").showModal();
    $("chooser-search").focus();
  };
  const offer = (first = null) => {
    const wanted = $("chooser-search").value.toLowerCase();
    const suggested = get(chosenFor, "suggested");
    const probable = (get(chosenFor, "probable") ?? []).filter((_, i) => i % 2 === 0);
    const order = [...new Set([suggested, ...probable, ...labels.slice(0, data.choices).keys()])]
      .filter((i) => i !== null && i < data.choices && labels[i].toLowerCase().includes(wanted)).slice(0, 500);
    $("chooser-list").replaceChildren(...order.map((i) =>
      el("option", { value: i, text: i === suggested ? `${labels[i]} (suggested)` : labels[i] })));
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
    event.preventDefault(); // closed by hand: the dialog's own event comes later than the next key may
    const text = labels[Number($("chooser-list").value)];
    $("chooser").close();
    if (text === given(chosenFor)) write(chosenFor, "keep");
    else write(chosenFor, "relabel", text);
    if (goOn) move(1);
    else select(chosenFor);
  });

  // What is on show: a filter, an order, and of these rows the ones within sight.

  let view = Int32Array.from(rows.keys());
  let position = new Map(); // row -> place in the view
  let sort = { by: null, down: false };
  let current = -1; // the selected row
  const drawn = new Map(); // place -> tr
  let haystack = null; // per row, what a search looks at
  let printing = false;

  const rowHeight = () => parseInt(getComputedStyle(document.documentElement).getPropertyValue("--row"), 10);
  let height = rowHeight();

  const refilter = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) haystack ??= rows.map((_, row) =>
      [rows[row][F.id], get(row, "path"), label(get(row, "given")), get(row, "suggested") === null ? "" : label(get(row, "suggested"))]
        .join("\n").toLowerCase());
    const [show, want, offered, state] = ["show", "given", "suggested", "decision"].map((id) => $(id).value);
    const kept = [];
    for (let row = 0; row < rows.length; row++) {
      const issue = rows[row][F.issue];
      if (show === "suspects" ? issue === "none" : show !== "all" && issue !== show) continue;
      if (want !== "" && get(row, "given") !== Number(want)) continue;
      if (offered !== "" && get(row, "suggested") !== Number(offered)) continue;
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
    id: (row) => rows[row][F.id],
    given: (row) => label(get(row, "given")),
    p: (row) => get(row, "p") ?? -1,
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
    for (const button of document.querySelectorAll("[data-sort]")) {
      const own = button.dataset.sort === sort.by;
      button.closest("th").setAttribute("aria-sort", own ? (sort.down ? "descending" : "ascending") : "none");
    }
    position = new Map();
    view.forEach((row, place) => position.set(row, place));
    const beyond = data.total - rows.length;
    $("count").textContent = `${count(view.length)} of ${count(rows.length)} rows` +
      (beyond ? `; ${count(beyond)} less suspicious rows of the set did not fit into this file` : "") +
      (details.length < rows.length ? `; previews and curves for the first ${count(details.length)}` : "");
    $("empty").hidden = view.length > 0;
    $("table").setAttribute("aria-rowcount", view.length + 1);
    $("scroller").scrollTop = 0;
    redraw();
    if (!position.has(current) || current < 0) select(view.length && innerWidth > 1000 ? view[0] : -1, false);
  };

  const gap = (pixels) => {
    const row = el("tr", { class: "gap", "aria-hidden": "true" }, el("td", { colspan: 5 }));
    row.firstChild.style.height = `${pixels}px`;
    return row;
  };
  const redraw = () => {
    drawn.clear();
    $("body").replaceChildren(gap(0), gap(0));
    render();
  };
  const render = () => {
    const box = $("scroller");
    const first = printing ? 0 : Math.max(0, Math.floor(box.scrollTop / height) - OVERSCAN);
    const last = printing ? Math.min(view.length, PRINTED)
      : Math.min(view.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + OVERSCAN);
    for (const [place, node] of drawn) if (place < first || place >= last) { node.remove(); drawn.delete(place); }
    const bottom = $("body").lastChild;
    let next = null; // backwards, so that each new row has the row after it to stand before
    for (let place = last - 1; place >= first; place--) {
      const node = drawn.get(place) ?? draw(place);
      if (!node.isConnected) $("body").insertBefore(node, next ?? bottom);
      next = node;
    }
    $("body").firstChild.firstChild.style.height = `${first * height}px`;
    bottom.firstChild.style.height = `${printing ? 0 : (view.length - last) * height}px`;
  };

  const draw = (place) => {
    const row = view[place];
    const path = get(row, "path");
    const issue = rows[row][F.issue];
    const suggested = get(row, "suggested");
    const p = get(row, "p");
    const meter = el("i");
    meter.style.width = `${100 * (p ?? 0)}%`;
    const node = el("tr", { "aria-rowindex": place + 2, "aria-selected": row === current, tabindex: row === current ? 0 : -1,
      onclick: () => select(row) },
      el("td", { class: "c-thumb" }, preview(row) ? picture(preview(row)) : null),
      el("td", { class: "c-id" }, el("div", { class: "one", text: rows[row][F.id], title: path ?? rows[row][F.id] }),
        el("div", { class: "one note", text: issue === "none" ? "no issue found" : data.issues[issue] ?? issue })),
      el("td", { class: "c-labels" }, el("div", { class: "two" }, label(get(row, "given")),
        ...(suggested === null ? [] : [el("span", { class: "arrow", text: "→" }), el("b", { text: labels[suggested] })]))),
      el("td", { class: "c-p figure" }, percent(p), el("span", { class: "meter" }, meter)),
      el("td", { class: "c-mark" }, marks(row), verdict(row)));
    drawn.set(place, node);
    return node;
  };
  const marks = (row) => el("div", { class: "marks", role: "group", "aria-label": `Decision about ${rows[row][F.id]}` },
    ...Object.entries(NAMES).map(([action, name]) => el("button", { type: "button", text: name, "data-action": action,
      title: `key ${name[0].toLowerCase()}`, "aria-keyshortcuts": name[0].toLowerCase(),
      "aria-pressed": decided(row)?.action === action,
      onclick: (event) => { event.stopPropagation(); select(row); mark(row, action); } })));
  const verdict = (row) => {
    const decision = decided(row);
    const own = decision?.action === "relabel" ? [`→ ${decision.label}`] : [];
    const text = [...own, ...(others.get(rows[row][F.id]) ?? [])].join(" · ");
    return text ? el("div", { class: own.length ? "marked one" : "note one", text, title: text }) : null;
  };

  const select = (row, scroll = true) => {
    const before = drawn.get(position.get(current));
    if (before) { before.setAttribute("aria-selected", "false"); before.tabIndex = -1; }
    current = row;
    if (row >= 0 && scroll) {
      const box = $("scroller");
      const head = box.querySelector("thead").offsetHeight;
      const top = position.get(row) * height;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + height + head > box.scrollTop + box.clientHeight) box.scrollTop = top + height + head - box.clientHeight;
      render();
    }
    const node = drawn.get(position.get(row));
    if (node) {
      node.setAttribute("aria-selected", "true");
      node.tabIndex = 0;
      if (scroll && !node.contains(document.activeElement)) node.focus({ preventScroll: true });
    }
    showDetail();
  };
  const move = (step) => {
    if (!view.length) return;
    const place = (position.get(current) ?? -1) + step;
    select(view[Math.min(Math.max(place, 0), view.length - 1)]);
  };

  // The selected row in full.

  const showDetail = () => {
    const panel = $("detail");
    panel.hidden = current < 0;
    if (current < 0) return;
    const row = current;
    const [image, sound, curve, neighbors, why] = details[row] ?? [null, null, [], [], null];
    const suggested = get(row, "suggested");
    const probable = get(row, "probable") ?? [];
    const reasons = why?.map((text) => `${text}.`) ?? (get(row, "reasons") ?? []).map((i) => data.sentences[data.reasons[i]] ?? data.reasons[i].replaceAll("_", " "));
    const examples = [...new Set([get(row, "given"), suggested ?? probable[0] ?? null])].filter((i) => i !== null);
    const decision = decided(row);
    panel.replaceChildren(...[
      el("button", { type: "button", class: "close", text: "Close", onclick: () => select(-1, false) }),
      el("h2", { class: "text", text: rows[row][F.id] }),
      get(row, "path") ? el("p", { class: "note text", text: get(row, "path") }) : null,
      el("p", { class: "text" }, el("span", { class: "note", text: "labelled " }), el("b", { text: label(get(row, "given")) }),
        ...(suggested === null ? [] : [el("span", { class: "note", text: ", looks like " }), el("b", { text: labels[suggested] })])),
      el("div", { class: "compare" }, image ? picture(inFull(image), `Preview of ${rows[row][F.id]}`) : null, el("div", {}, ...examples.flatMap(typical))),
      sound ? el("audio", { controls: "", src: sound, preload: "none" }) : null,
      marks(row),
      decision ? el("p", { class: "marked", text: `decided: ${NAMES[decision.action].toLowerCase()}` + (decision.label === null ? "" : ` → ${decision.label}`) }) : null,
      others.has(rows[row][F.id]) ? el("p", { class: "note text", text: others.get(rows[row][F.id]).join(" · ") }) : null,
      ...(reasons.length ? [el("h3", { text: "What speaks against its label" }), el("ul", {}, ...reasons.map((text) => el("li", { text })))] : []),
      get(row, "error") ? el("p", { class: "note text", text: get(row, "error") }) : null,
      ...(probable.length ? [el("h3", { text: "What it probably is" }), likely(probable)] : []),
      ...(curve.some((value) => value !== null) ? [el("h3", { text: "Margin of the given label while learning" }), spark(curve)] : []),
      ...(neighbors.length ? [el("h3", { text: "Nearest neighbours" }), near(neighbors)] : []),
      el("h3", { text: "Evidence" }), evidence(row),
    ].filter((node) => node !== null));
    panel.querySelector(".compare > img")?.classList.add("main");
    panel.scrollTop = 0;
  };
  const typical = (index) => {
    const found = data.examples.find((example) => example[0] === index);
    if (!found || found.length < 2) return [];
    return [el("h3", { class: "text", text: `typical ${labels[index]}` }),
      el("div", { class: "examples" }, ...found.slice(1).filter(Boolean).map((image) => picture(image)))];
  };
  const likely = (probable) => {
    const box = el("div", { class: "probable" });
    for (let i = 0; i < probable.length; i += 2) {
      const meter = el("i");
      meter.style.width = `${100 * probable[i + 1]}%`;
      box.append(el("span", { class: "one", text: labels[probable[i]] }), el("span", { class: "meter" }, meter),
        el("span", { class: "figure", text: percent(probable[i + 1]) }));
    }
    return box;
  };
  const spark = (curve) => {
    const known = curve.map((value, i) => [i, value]).filter(([, value]) => value !== null);
    const values = known.map(([, value]) => value);
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const y = (value) => 58 - 54 * (value - low) / Math.max(high - low, 1e-6);
    const x = (i) => 2 + 316 * i / Math.max(curve.length - 1, 1);
    const about = `Margin from ${values[0]} at first to ${values.at(-1)} at last; below zero another class is ahead`;
    return svg("svg", { viewBox: "0 0 320 62", preserveAspectRatio: "none", role: "img", "aria-label": about },
      svg("line", { class: "zero", x1: 0, x2: 320, y1: y(0), y2: y(0) }),
      svg("polyline", { class: "line median suspect", "vector-effect": "non-scaling-stroke", points: known.map(([i, v]) => `${x(i)},${y(v)}`).join(" ") }));
  };
  const near = (neighbors) => {
    const known = neighbors.map((n) => (typeof n === "number" ? [rows[n][F.id], get(n, "given"), preview(n)] : [...n, null]));
    const pictures = known.some(([, , image]) => image);
    return el("div", { class: pictures ? "neighbors pictures" : "neighbors" }, ...known.map(([id, given, image]) =>
      el("span", { title: id }, image ? picture(image) : null, el("span", { class: "one", text: label(given) }))));
  };
  const evidence = (row) => {
    const facts = [
      ["Probably wrong", percent(get(row, "p"))],
      ["Suggestion is right", get(row, "suggested") === null ? null : percent(get(row, "confidence"))],
      ["Proposed", get(row, "action")],
      ["Mean loss", get(row, "loss") === null ? null : `${get(row, "loss")} nats`],
      ["Area under the margin", get(row, "aum") === null ? null : `${get(row, "aum")} logits`],
      ["Neighbours' votes for the label", get(row, "agreement") === null ? null : percent(get(row, "agreement"))],
      ["Most neighbours are", get(row, "knn") === null ? null : labels[get(row, "knn")]],
      ["Learned in epoch", get(row, "learned") ?? (get(row, "loss") === null ? null : "never")],
      ["Times forgotten", get(row, "forgotten")],
      ["Split", get(row, "split") === null ? null : data.splits[get(row, "split")]],
      ["Same content as", get(row, "duplicate")],
      ["Nearly the same content as", get(row, "near")],
    ];
    return el("table", { class: "facts" }, el("tbody", {}, ...facts.filter(([, value]) => value !== null).map(([name, value]) =>
      el("tr", {}, el("th", { scope: "row", text: name }), el("td", { class: "text", text: value })))));
  };

  // Confusions.

  const showPair = (from, to) => {
    $("search").value = "";
    $("show").value = "suspects";
    $("decision").value = "";
    $("given").value = from;
    $("suggested").value = to;
    refilter();
    $("rows").scrollIntoView();
  };
  const showOverlaps = () => $("overlaps").replaceChildren(...data.overlaps.map(([a, b, sentence]) =>
    el("div", { class: "card" }, el("p", { class: "text", text: sentence }), ...[a, b].flatMap(typical))));
  const showConfusions = () => {
    $("confusions").hidden = !data.confusions.length && !data.overlaps.length;
    showOverlaps();
    const strips = new Map(data.confusions.map(([from, to]) => [`${from}:${to}`, []]));
    for (let row = 0; row < details.length; row++) {
      const strip = strips.get(`${get(row, "given")}:${get(row, "suggested")}`);
      if (strip && strip.length < 5 && preview(row)) strip.push(preview(row));
    }
    $("pairs").replaceChildren(...data.confusions.map(([from, to, n, expected]) => {
      const strip = strips.get(`${from}:${to}`);
      return el("button", { type: "button", onclick: () => showPair(from, to) },
        el("div", { class: "one" }, labels[from], el("span", { class: "arrow", text: "→" }), el("b", { text: labels[to] })),
        el("div", { class: "note", text: `${count(n)} ${n === 1 ? "row" : "rows"}, about ${count(Math.round(expected))} really ${labels[to]}` }),
        strip.length ? el("div", { class: "strip" }, ...strip.map((image) => picture(image))) : null);
    }));
  };

  // Wiring.

  const fill = (select, entries) => select.append(...entries.map(([value, text]) => el("option", { value, text })));
  const showTools = () => {
    const seen = new Map();
    const used = { given: new Set(), suggested: new Set() };
    for (const row of rows) {
      seen.set(row[F.issue], (seen.get(row[F.issue]) ?? 0) + 1);
      for (const name of ["given", "suggested"]) if (Number.isInteger(row[F[name]])) used[name].add(row[F[name]]);
    }
    const suspects = rows.length - (seen.get("none") ?? 0);
    fill($("show"), [["suspects", `all with an issue (${count(suspects)})`],
      ...Object.keys(data.issues).filter((issue) => issue !== "none" && seen.has(issue)).map((issue) => [issue, `${data.issues[issue]} (${count(seen.get(issue))})`]),
      ["all", `all rows (${count(rows.length)})`]]);
    if (!suspects) $("show").value = "all";
    for (const name of ["given", "suggested"])
      fill($(name), [...used[name]].map((i) => [i, labels[i]]).sort((a, b) => (a[1] < b[1] ? -1 : 1)));
  };
  const reset = () => {
    for (const id of ["search", "given", "suggested", "decision"]) $(id).value = "";
    $("show").selectedIndex = 0;
    sort = { by: null, down: false };
    refilter();
  };

  for (const id of ["show", "given", "suggested", "decision"]) $(id).addEventListener("change", refilter);
  $("search").addEventListener("input", refilter);
  $("reset").addEventListener("click", reset);
  $("reset2").addEventListener("click", reset);
  $("download").addEventListener("click", download);
  $("reviewer").addEventListener("change", save);
  $("scroller").addEventListener("scroll", render, { passive: true });
  for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => {
    const by = button.dataset.sort;
    // up, down, and back to the order of suspicion
    sort = sort.by !== by ? { by, down: false } : sort.down ? { by: null, down: false } : { by, down: true };
    resort();
  });
  addEventListener("resize", () => { height = rowHeight(); render(); });
  addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
  addEventListener("storage", (event) => { if (event.key === KEY) { load(); redraw(); showDetail(); showProgress(); } });
  addEventListener("beforeprint", () => {
    printing = true;
    $("paper").textContent = view.length > PRINTED ? `On paper: the first ${PRINTED} of these rows.` : "";
    render();
  });
  addEventListener("afterprint", () => { printing = false; render(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("chooser").open) return;
    if (event.key === "Escape") {
      document.activeElement.blur();
      if (current >= 0) select(current);
      return;
    }
    if (event.target.matches("input, select, audio")) return;
    const act = (action) => () => { if (current >= 0) mark(current, action, true); };
    const accept = () => {
      if (current < 0 || get(current, "suggested") === null) return;
      write(current, "relabel", labels[get(current, "suggested")]);
      move(1);
    };
    const command = {
      ArrowDown: () => move(1), ArrowUp: () => move(-1), j: () => move(1), i: () => move(-1),
      PageDown: () => move(8), PageUp: () => move(-8),
      k: act("keep"), a: accept, f: act("relabel"), d: act("drop"), u: act("unsure"), z: undo,
      "/": () => { $("rows").scrollIntoView(); $("search").focus(); $("search").select(); },
    }[event.key];
    const arrows = event.key.startsWith("Arrow") || event.key.startsWith("Page");
    // outside the table arrows scroll the page, as everywhere
    if (!command || (arrows && !event.target.closest("#rows"))) return;
    event.preventDefault();
    command();
  });

  if (!details.some((detail) => detail[0])) document.body.classList.add("bare");
  load();
  showTools();
  showConfusions();
  refilter();
  showProgress();
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
