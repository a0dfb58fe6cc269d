// A map of feature space: two principal components. Suspects are coloured; a lasso shows its rows below.

const plan = $("map-canvas");
const points = data.map; // [row, x, y] from 0 to 1000
let lasso = []; // corners in pixels of the canvas, while it is drawn and as long as it filters
let drawing = false;
let under = -1; // the row below the pointer

const at = (point) => {
  const pad = 10;
  return [pad + (plan.clientWidth - 2 * pad) * point[1] / 1000, pad + (plan.clientHeight - 2 * pad) * (1 - point[2] / 1000)];
};
const drawMap = () => {
  const scale = devicePixelRatio || 1;
  [plan.width, plan.height] = [plan.clientWidth * scale, plan.clientHeight * scale];
  const pen = plan.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name);
  pen.scale(scale, scale);
  const dot = (point, size) => { const [x, y] = at(point); pen.fillRect(x - size / 2, y - size / 2, size, size); };
  for (const [suspect, name, size, alpha] of [[false, "--plain", 2.5, 0.6], [true, "--accent", 4, 0.9]]) {
    [pen.fillStyle, pen.globalAlpha] = [colour(name), alpha];
    for (const point of points) if ((issueOf(point[0]) !== "none") === suspect) dot(point, size);
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("--ink");
  const marked = points.find((point) => point[0] === (under >= 0 ? under : current));
  if (marked) { const [x, y] = at(marked); pen.beginPath(); pen.arc(x, y, 7, 0, 7); pen.lineWidth = 2; pen.stroke(); }
  if (lasso.length > 1) {
    pen.beginPath();
    lasso.forEach(([x, y]) => pen.lineTo(x, y));
    pen.closePath();
    pen.lineWidth = 1.5;
    pen.stroke();
  }
};
const inside = ([x, y], corners) => {
  let odd = false;
  for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
    const [[a, b], [c, d]] = [corners[i], corners[j]];
    if ((b > y) !== (d > y) && x < (c - a) * (y - b) / (d - b) + a) odd = !odd;
  }
  return odd;
};
const nearest = (x, y) => {
  let [best, distance] = [-1, 12 ** 2];
  for (const point of points) {
    const [a, b] = at(point);
    const here = (a - x) ** 2 + (b - y) ** 2;
    if (here < distance || (here === distance && issueOf(point[0]) !== "none")) [best, distance] = [point[0], here];
  }
  return best;
};
const showUnder = (row, x) => {
  under = row;
  const box = $("map-under");
  box.hidden = row < 0;
  box.classList.toggle("left", x > plan.clientWidth / 2);
  if (row >= 0) box.replaceChildren(...[preview(row) ? picture(preview(row)) : null, el("div", { class: "one", text: idOf(row) }),
    says(row)].filter((node) => node !== null));
};
plan.addEventListener("pointerdown", (event) => {
  drawing = true;
  lasso = [[event.offsetX, event.offsetY]];
  plan.setPointerCapture(event.pointerId);
});
plan.addEventListener("pointermove", (event) => {
  if (drawing) lasso.push([event.offsetX, event.offsetY]);
  else showUnder(nearest(event.offsetX, event.offsetY), event.offsetX);
  requestAnimationFrame(drawMap);
});
plan.addEventListener("pointercancel", () => { drawing = false; lasso = []; drawMap(); });
plan.addEventListener("pointerleave", () => { showUnder(-1, 0); drawMap(); });
plan.addEventListener("pointerup", (event) => {
  drawing = false;
  const wide = lasso.some(([x, y]) => Math.hypot(x - lasso[0][0], y - lasso[0][1]) > 8);
  const corners = lasso;
  lasso = [];
  if (wide) {
    const found = new Set(points.filter((point) => inside(at(point), corners)).map((point) => point[0]));
    reset(false);
    lasso = corners;
    only = { rows: found, about: `of ${numbered(found.size, "row")} in the lasso` };
    if (![...found].some((row) => issueOf(row) !== "none")) $("show").value = "all";
    refilter();
  } else {
    const row = nearest(event.offsetX, event.offsetY);
    if (row >= 0) visit(row);
  }
  drawMap();
});
const showMap = () => {
  $("map").hidden = $("to-map").hidden = !points.length;
  if (!points.length) return;
  $("map-note").textContent = `The two principal components of the features, ${numbered(points.length, "row")}. Suspects are coloured. ` +
    "A click selects a row; draw round some to see them below.";
  drawMap();
  addEventListener("resize", drawMap);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
};
