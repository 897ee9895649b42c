// When each primitive waited and ran. Only the rows in view are in the document.

const ROW_PX = isPair ? 34 : 24;
const waterfall = { rows: [], cursor: 0 };

function waterfallSection() {
  const rows = el("div", {
    id: "rows",
    class: "rows",
    role: "grid",
    tabindex: "0",
    "aria-label": "Waterfall: one row a primitive. Arrow keys move, plus and minus zoom.",
    onscroll: drawRows,
    onkeydown: onRowsKey,
    onwheel: onWheel,
  });
  rows.append(el("div", { id: "sizer", role: "rowgroup" }));
  return el(
    "section",
    { id: "waterfall", "aria-labelledby": "waterfall-title" },
    el("h2", { id: "waterfall-title" }, "Waterfall"),
    toolbar(),
    legend(),
    el("div", { class: "board" }, axis(), activityRows(), rows),
    el("p", { id: "found", class: "dim", role: "status" }),
  );
}

function toolbar() {
  const button = (text, label, act) =>
    el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
  const search = el("input", {
    id: "search",
    type: "search",
    placeholder: "Filter: name, op, engine, error",
    "aria-label": "Filter the rows",
    oninput: (event) => refilter({ words: event.target.value.toLowerCase().split(/\s+/) }),
  });
  const order = el(
    "select",
    { id: "order", "aria-label": "Order of rows", onchange: (e) => refilter({ order: e.target.value }) },
    el("option", { value: "ready" }, "by time"),
    el("option", { value: "start" }, "by start"),
    el("option", { value: "longest" }, "longest first"),
  );
  return el(
    "div",
    { class: "toolbar" },
    search,
    checkbox("critical", "critical only"),
    checkbox("failed", "failed only"),
    checkbox("inTime", "shown time only"),
    order,
    el("span", { class: "gap" }),
    button("−", "Zoom out", () => zoom(0.5)),
    button("+", "Zoom in", () => zoom(2)),
    button("◂", "Earlier", () => pan(-0.25)),
    button("▸", "Later", () => pan(0.25)),
    button("fit", "Show the whole time", fit),
    button("selection", "Zoom to the selected primitive", zoomToSelected),
  );
}

function checkbox(name, label) {
  const change = (event) => refilter({ [name]: event.target.checked });
  const box = el("input", { type: "checkbox", id: name, checked: filter[name], onchange: change });
  return el("label", {}, box, label);
}

function refilter(change) {
  Object.assign(filter, change);
  waterfall.rows = rowsShown();
  waterfall.cursor = Math.min(waterfall.cursor, Math.max(0, waterfall.rows.length - 1));
  const found = waterfall.rows.reduce((sum, row) => sum + (row.head ? row.found : 0), 0);
  const all = groups.reduce((sum, group) => sum + group.rows.length, 0);
  const why = filter.inTime && found < all ? " in the shown time" : "";
  byId("found").textContent =
    found === all ? count(all, "primitive") : `${grouped(found)} of ${count(all, "primitive")}${why}`;
  byId("sizer").replaceChildren(); // rows that are left would hold the scroll position
  byId("sizer").style.height = `${waterfall.rows.length * ROW_PX}px`;
  byId("rows").setAttribute("aria-rowcount", waterfall.rows.length);
  drawRows();
}

function legend() {
  const spans = queries.flatMap((query) => query.spans);
  const mark = (kind, text) => el("span", { class: "mark" }, el("span", { class: `sample ${kind}` }), text);
  return el(
    "div",
    { class: "legend" },
    mark("wait", "waiting"),
    spans.some((span) => span.load_s) ? mark("load", "engine loading") : null,
    mark("run", "running"),
    spans.some((span) => span.first_s) ? mark("first", "first token") : null,
    mark("critical", "critical path"),
    isPair ? el("span", { class: "mark" }, "upper bar A, lower bar B") : null,
    el("span", { class: "mark" }, "drag on the time axis to zoom"),
  );
}

function toggleEngine(engine, chip) {
  const isHidden = filter.hidden.delete(engine) ? false : Boolean(filter.hidden.add(engine));
  chip.setAttribute("aria-pressed", String(!isHidden));
  refilter({});
}

function axis() {
  const lane = el("div", { id: "axis", class: "lane", onpointerdown: onBrush });
  const heads = ["waited", "ran", "work"].map((text) => el("span", { class: "number" }, text));
  return el("div", { class: "row head", "aria-hidden": "true" }, el("span", {}, "primitive"), lane, heads);
}

const LABEL_PX = 44; // a label with less room before the end of the axis is left out

function drawAxis() {
  const lane = byId("axis");
  const marks = ticks(Math.max(2, lane.clientWidth / 90)).map(([time_s, step]) => {
    const hasRoom = (1 - shareOf(time_s)) * lane.clientWidth > LABEL_PX;
    const tick = el("span", { class: "tick" }, hasRoom ? tickText(time_s, step) : "");
    tick.style.left = asPercent(shareOf(time_s));
    return tick;
  });
  lane.replaceChildren(...marks);
}

function drawRows() {
  const box = byId("rows");
  const first = Math.max(0, Math.floor(box.scrollTop / ROW_PX) - 5);
  const last = Math.min(waterfall.rows.length, first + Math.ceil(box.clientHeight / ROW_PX) + 10);
  const drawn = waterfall.rows.slice(first, last).map((row, n) => drawRow(row, first + n));
  byId("sizer").replaceChildren(...drawn);
  const current = waterfall.rows[waterfall.cursor] ? `row-${waterfall.cursor}` : "";
  box.setAttribute("aria-activedescendant", current);
}

whenMoved.push(drawAxis, () => (filter.inTime ? refilter({}) : drawRows()));
