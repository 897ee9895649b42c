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

function drawAxis() {
  const lane = byId("axis");
  const marks = ticks(Math.max(2, lane.clientWidth / 90)).map(([time_s, step]) => {
    const tick = el("span", { class: "tick" }, tickText(time_s, step));
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

function drawRow(row, number) {
  const drawn = row.head ? headRow(row) : spanRow(row);
  drawn.id = `row-${number}`;
  drawn.setAttribute("role", "row");
  drawn.setAttribute("aria-rowindex", number + 1);
  drawn.classList.add("row");
  drawn.classList.toggle("cursor", number === waterfall.cursor);
  drawn.style.top = `${number * ROW_PX}px`;
  drawn.style.height = `${ROW_PX}px`;
  drawn.addEventListener("click", () => onRow(number));
  return drawn;
}

function headRow({ head, found }) {
  const sides = isPair ? head.queries : head.queries.filter(Boolean);
  const heads = sides.filter(Boolean).map((query) => queryHead(query));
  const title = sides.filter(Boolean).map(titleOf).join(" | ");
  const fold = el("span", { class: "fold" }, isOpen(head) ? "▾" : "▸");
  const name = el("span", { role: "gridcell", class: "title", title }, fold, el("span", {}, heads));
  const lane = el("div", { role: "gridcell", class: "lane" }, sides.map(queryBar));
  const times = sides.map((query) => el("span", { class: "line" }, query ? seconds(query.duration_s) : "-"));
  const numbers = [
    el("span", { class: "number" }),
    el("span", { role: "gridcell", class: "number" }, times),
    el("span", { role: "gridcell", class: "number dim" }, count(found, "row")),
  ];
  return el("div", { class: "group", "aria-expanded": String(isOpen(head)) }, name, lane, numbers);
}

function queryBar(query) {
  const line = el("div", { class: "bars" });
  if (!query) return line;
  const [from, to] = [query.offset_s, query.offset_s + query.duration_s].map(shareOf);
  if (to >= 0 && from <= 1) placeBar(line, "whole", from, to);
  return line;
}

function queryHead(query) {
  const side = isPair ? el("b", { class: `side side${query.side}` }, SIDES[query.side]) : null;
  const status = el("span", { class: `status ${statusClass(query)}` }, query.status);
  const within = query.within ? el("span", { class: "dim" }, ` within ${query.within}`) : null;
  return el("span", { class: "line" }, side, ` ${query.app || "?"} ${query.id} `, status, within);
}

const statusClass = (query) =>
  query.status === "ok" ? "good" : query.status === "running" ? "open" : "bad";

function spanRow(row) {
  const spans = spansOf(row);
  const one = spans[0];
  const isFailed = spans.some((span) => span.error);
  const isCritical = spans.some((span) => span.isCritical);
  const name = el(
    "span",
    { role: "gridcell", class: `name${isFailed ? " bad" : ""}`, title: `${one.node} (${one.op})` },
    el("span", { class: "path-mark" }, isCritical ? "◆" : ""),
    el("bdi", {}, one.node),
    el("span", { class: "dim" }, ` ${one.op}`),
  );
  const lanes = isPair ? row.spans : spans;
  const lane = el("div", { role: "gridcell", class: "lane" }, lanes.map(bars));
  const numbers = [waitText, runText, workOf].map((textOf) => numberCell(lanes, textOf));
  const drawn = el("div", { class: "span", "aria-label": spans.map(spoken).join("; ") }, name, lane, numbers);
  drawn.setAttribute("aria-selected", String(spans.includes(selected.span)));
  drawn.classList.toggle("mate", spans.some((span) => selected.mates.has(span)));
  return drawn;
}

const waitText = (span) => seconds(span.wait_s);
const runText = (span) =>
  span.never_ran ? "" : seconds(span.run_s) + (span.unfinished ? "+" : "");

function numberCell(lanes, textOf) {
  const texts = lanes.map((span) => (span ? textOf(span) : "-"));
  const lines = texts.map((text) => el("span", { class: "line" }, text));
  return el("span", { role: "gridcell", class: "number", title: texts.join(" | ") }, lines);
}

function spoken(span) {
  const side = isPair ? `${SIDES[span.query.side]}: ` : "";
  const failed = span.error ? `, failed: ${span.error}` : "";
  const times = `ready at ${seconds(span.ready_s)}, waited ${waitText(span)}, ran ${runText(span)}`;
  const critical = span.isCritical ? ", on the critical path" : "";
  return `${side}${span.node}, ${span.op} on ${span.engine}, ${times}${critical}${failed}`;
}

function bars(span) {
  const line = el("div", { class: "bars" });
  if (span === null) return line;
  const load_s = Math.min(span.load_s, span.wait_s);
  addBar(line, "wait", span, span.ready_s, span.start_s - load_s);
  addBar(line, "load", span, span.start_s - load_s, span.start_s);
  const states = [span.isCritical && "critical", span.error && "failed", span.unfinished && "open"];
  const kind = ["run", colourOf(span.engine), ...states.filter(Boolean)].join(" ");
  if (!span.never_ran) addBar(line, kind, span, span.start_s, span.end_s, true);
  if (span.never_ran && !span.unfinished) addMark(line, `instant ${colourOf(span.engine)} ${span.error ? "failed" : ""}`, span, span.end_s);
  if (span.first_s !== undefined) addMark(line, "first", span, span.first_s);
  for (const retry of span.retries) addMark(line, "retried", span, retry.at_s);
  return line;
}

function addBar(line, kind, span, from_s, to_s, isAlways = false) {
  const [from, to] = [shareOf(at(span, from_s)), shareOf(at(span, to_s))];
  if ((to - from < 1e-6 && !isAlways) || to < 0 || from > 1) return;
  placeBar(line, kind, from, to);
}

function placeBar(line, kind, from, to) {
  const [left, right] = [Math.max(from, -0.01), Math.min(to, 1.01)];
  const bar = el("div", { class: `bar ${kind}` });
  bar.style.left = `${left * 100}%`;
  bar.style.width = `${(right - left) * 100}%`;
  line.append(bar);
}

function addMark(line, kind, span, time_s) {
  const share = shareOf(at(span, time_s));
  if (share < 0 || share > 1) return;
  const mark = el("div", { class: kind });
  mark.style.left = `${share * 100}%`;
  line.append(mark);
}

function onRow(number) {
  waterfall.cursor = number;
  const row = waterfall.rows[number];
  if (!row.head) return select(nextSide(row));
  const place = row.head.number;
  if (!closed.delete(place)) closed.add(place);
  refilter({});
}

function nextSide(row) {
  const spans = spansOf(row);
  return spans[(spans.indexOf(selected.span) + 1) % spans.length]; // A, then B
}

function onRowsKey(event) {
  const page = Math.floor(byId("rows").clientHeight / ROW_PX) - 1;
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
  const last = waterfall.rows.length - 1;
  const acts = {
    "+": () => zoom(2),
    "=": () => zoom(2),
    "-": () => zoom(0.5),
    0: fit,
    z: zoomToSelected,
    ArrowLeft: () => pan(-0.25),
    ArrowRight: () => pan(0.25),
    Home: () => moveTo(0),
    End: () => moveTo(last),
    Enter: () => onRow(waterfall.cursor),
    " ": () => onRow(waterfall.cursor),
  };
  const move = moves[event.key];
  const act = move ? () => moveTo(waterfall.cursor + move) : acts[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
}

function moveTo(number) {
  waterfall.cursor = Math.max(0, Math.min(number, waterfall.rows.length - 1));
  const row = waterfall.rows[waterfall.cursor];
  scrollToRow(waterfall.cursor);
  if (row && !row.head) select(spansOf(row).find(passes) ?? spansOf(row)[0]);
  else drawRows();
}

function scrollToRow(number) {
  const box = byId("rows");
  const top = number * ROW_PX;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_PX > box.scrollTop + box.clientHeight)
    box.scrollTop = top + ROW_PX - box.clientHeight;
}

function showInWaterfall(span) {
  const number = waterfall.rows.findIndex((row) => !row.head && row.spans.includes(span));
  if (number < 0) return drawRows();
  waterfall.cursor = number;
  scrollToRow(number);
  drawRows();
}

function onWheel(event) {
  if (!(event.ctrlKey || event.metaKey || event.shiftKey)) return;
  event.preventDefault();
  if (event.shiftKey) return pan((event.deltaY || event.deltaX) > 0 ? 0.1 : -0.1);
  zoom(event.deltaY < 0 ? 1.25 : 0.8, timeAt(event.clientX));
}

function timeAt(clientX) {
  const box = byId("axis").getBoundingClientRect();
  const share = Math.max(0, Math.min(1, (clientX - box.left) / box.width));
  return shown.from + share * (shown.to - shown.from);
}

function onBrush(down) {
  if (down.target.closest("button")) return;
  const lane = byId("axis");
  const start = timeAt(down.clientX);
  const brush = el("div", { class: "brush" });
  lane.setPointerCapture(down.pointerId);
  lane.append(brush);
  const move = (event) => {
    const [from, to] = [start, timeAt(event.clientX)].sort((a, b) => a - b);
    brush.style.left = asPercent(shareOf(from));
    brush.style.width = asPercent(shareOf(to) - shareOf(from));
  };
  const up = (event) => {
    lane.removeEventListener("pointermove", move);
    brush.remove();
    const [from, to] = [start, timeAt(event.clientX)].sort((a, b) => a - b);
    if (Math.abs(event.clientX - down.clientX) > 4) show(from, to);
  };
  lane.addEventListener("pointermove", move);
  lane.addEventListener("pointerup", up, { once: true });
}

function zoomToSelected() {
  const span = selected.span;
  if (!span) return;
  const margin = Math.max(1e-5, (span.end_s - span.ready_s) * 0.1);
  show(at(span, span.ready_s) - margin, at(span, span.end_s) + margin);
}

whenMoved.push(drawAxis, () => (filter.inTime ? refilter({}) : drawRows()));
