// The selected row in full, and its picture as large as the window.

const showDetail = () => {
  const panel = $("detail");
  panel.hidden = current < 0;
  if (current < 0) return;
  const row = current;
  const [image, clip, curve, neighbors, why] = details.get(row) ?? [null, null, [], [], null];
  const reasons = why?.map((text) => `${text}.`) ?? (get(row, "reasons") ?? []).map((i) => data.sentences[data.reasons[i]] ?? data.reasons[i].replaceAll("_", " "));
  const examples = [...new Set([get(row, "given"), get(row, "suggested") ?? probable(row)[0] ?? null])].filter((i) => i !== null);
  panel.replaceChildren(...[
    button("Close", () => select(-1, false), { class: "close" }),
    el("h2", { class: "text", text: idOf(row) }),
    get(row, "path") ? el("p", { class: "note text", text: get(row, "path") }) : null,
    says(row),
    image ? el("button", { type: "button", class: "main", "aria-label": `Enlarge the picture of ${idOf(row)}`, title: "key space", onclick: () => zoom(row) }, picture(image, `Preview of ${idOf(row)}`)) : null,
    clip ? el("audio", { controls: "", src: clip, preload: "none" }) : null,
    marks(row),
    bulkOf(row),
    decided(row) ? el("p", { class: "marked", text: `decided: ${verdict(row)}` }) : null,
    settled(row) ? el("p", { class: "note text", text: `I${settled(row).slice(1)}: of the labels of one content at most one is right.` }) : null,
    remarks(row),
    ...copies(row),
    ...examples.flatMap(typical),
    ...(reasons.length ? [el("h3", { text: "What stands out" }), el("ul", {}, ...reasons.map((text) => el("li", { text })))] : []),
    get(row, "error") ? el("p", { class: "note text", text: get(row, "error") }) : null,
    ...(probable(row).length ? [el("h3", { text: "What it probably is" }), likely(row)] : []),
    ...(neighbors.length ? [el("h3", { text: "Nearest neighbours" }), near(neighbors)] : []),
    ...(curve.some((value) => value !== null) ? [el("h3", { text: "Margin of the given label while learning" }), spark(curve)] : []),
    el("h3", { text: "Evidence" }), evidence(row),
  ].filter((node) => node !== null));
  panel.scrollTop = 0;
  if ($("zoom").open) showZoom();
};
const says = (row) => el("p", { class: "text" }, el("span", { class: "note", text: "labelled " }), el("b", { text: label(get(row, "given")) }),
  ...(suggested(row) === null ? [] : [el("span", { class: "note", text: ", looks like " }), el("b", { text: label(get(row, "suggested")) })]));
const bulkOf = (row) => {
  const pair = [get(row, "given"), get(row, "suggested")];
  const open = pair.includes(null) ? 0 : undecided(...pair).length;
  if (open < 2) return null;
  const all = button("", () => askBulk(...pair), { class: "bulk", title: "key b" });
  all.append(`Accept all ${count(open)} of `, ...change(label(pair[0]), label(pair[1])));
  return all;
};
// Rows of the same content: side by side, for one of their labels is wrong.
const copies = (row) => {
  const others = copiesOf(row);
  if (!others.length) return [];
  const differ = others.some((other) => get(other, "given") !== get(row, "given"));
  return [el("h3", { text: differ ? "The same content with another label" : "The same content again" }),
    el("div", { class: "minis two-wide" }, ...[row, ...others].slice(0, 6).map((one) => card(one, label(get(one, "given")))))];
};
const typical = (index) => {
  const found = data.examples.find((example) => example[0] === index);
  if (!found || found.length < 2) return [];
  return [el("h3", { class: "text", text: `typical ${names[index]}` }),
    el("div", { class: "minis" }, ...found.slice(1).map(([image, clip, row]) => card(row < 0 ? null : row, "", { image, clip })))];
};
const likely = (row) => {
  const found = get(row, "probable");
  return el("div", { class: "probable" }, ...probable(row).flatMap((index, i) => [
    el("kbd", { text: i + 1 }),
    button(names[index], () => give(row, labels[index]), { class: "one", title: `key ${i + 1}: label it ${names[index]}` }),
    meter(found[2 * i + 1]), el("span", { class: "figure", text: chance(found[2 * i + 1]) })]));
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
// A neighbour that is not in this file has an id and a label only.
const near = (neighbors) => el("div", { class: neighbors.some((n) => preview(n)) ? "minis" : "minis words" }, ...neighbors.map((n) =>
  typeof n === "number" ? card(n, label(get(n, "given"))) : card(null, label(n[1]), { image: null, clip: null })));
const evidence = (row) => {
  const facts = [
    ["Probably wrong", chance(get(row, "p"))],
    ["Suggestion is right", suggested(row) === null ? null : chance(get(row, "confidence"))],
    ["Proposed", get(row, "action")],
    ["Mean loss", get(row, "loss") === null ? null : `${get(row, "loss")} nats`],
    ["Area under the margin", get(row, "aum") === null ? null : `${get(row, "aum")} logits`],
    ["Neighbours' votes for the label", get(row, "agreement") === null ? null : percent(get(row, "agreement"))],
    ["Most neighbours are", get(row, "knn") === null ? null : names[get(row, "knn")]],
    ["Learned in epoch", get(row, "learned") ?? (get(row, "loss") === null ? null : "never")],
    ["Times forgotten", get(row, "forgotten")],
    ["Split", get(row, "split") === null ? null : data.splits[get(row, "split")]],
    ["Same content as", get(row, "duplicate")],
    ["Nearly the same content as", get(row, "near")],
  ];
  return el("table", { class: "facts" }, el("tbody", {}, ...facts.filter(([, value]) => value !== null).map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row", text: name }), el("td", { class: "text", text: value })))));
};

// The picture alone. Keys go on working, so that a person can stay in here.
const zoom = (row) => {
  if (current !== row) select(row);
  $("zoom").showModal();
  showZoom();
};
const showZoom = () => {
  const row = current;
  const examples = [get(row, "given"), get(row, "suggested")].filter((i) => i !== null);
  $("zoom").replaceChildren(
    el("div", { class: "zoom-head" }, el("h2", { class: "one", id: "zoom-title", text: idOf(row) }), says(row),
      el("span", { class: "note", text: `${chance(get(row, "p"))} wrong` }), button("Close", () => $("zoom").close(), { title: "key space" })),
    el("div", { class: "zoom-main" },
      el("div", { class: "zoom-face" }, preview(row) ? picture(inFull(preview(row)), `Picture of ${idOf(row)}`) : el("p", { class: "note", text: "This file holds no picture of the row." })),
      el("div", { class: "zoom-side" }, ...copies(row), ...examples.flatMap(typical))),
    el("div", { class: "zoom-foot" }, button("←", () => move(-1), { "aria-label": "previous row" }), sound(row) ? button("▶", () => play(sound(row)), { "aria-label": "play the sound", title: "key p" }) : "", marks(row), button("→", () => move(1), { "aria-label": "next row" }),
      decided(row) ? el("span", { class: "marked", text: verdict(row) }) : ""));
};
$("zoom").addEventListener("click", (event) => { if (event.target === $("zoom")) $("zoom").close(); });
$("zoom").addEventListener("close", () => { if (position.has(current)) select(current); });
