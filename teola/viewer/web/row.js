// One row of the waterfall: of a query, or of a primitive.

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
