// The header, the critical path, the calls with their tokens, and the differences of two files.

const number = "number";

function header() {
  const theme = el("button", { type: "button", id: "theme", onclick: changeTheme }, "dark / light");
  const names = content.files.map((file, side) =>
    el("span", { class: "file" }, isPair ? el("b", { class: `side side${side}` }, SIDES[side]) : null, file.name),
  );
  const outer = queries.filter((query) => !query.within);
  const cards = (outer.length <= 4 ? outer : []).map(card);
  const warnings = content.files.filter((file) => file.warning);
  return el(
    "header",
    {},
    el("div", { class: "toolbar" }, el("h1", {}, "teola trace"), names, el("span", { class: "gap" }), theme),
    outer.length > 4 ? el("p", { class: "summary" }, sumOf(outer)) : null,
    el("div", { class: "cards" }, cards),
    warnings.map((file) => el("p", { class: "warning", role: "alert" }, `${file.name}: ${file.warning}`)),
    failures(),
  );
}

function changeTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const root = document.documentElement;
  const now = root.dataset.theme ?? (isDark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
}

function card(query) {
  const prompt = promptTokens(query.usage);
  const big = (value, name, more = "") =>
    el("div", { class: "fact" }, el("b", {}, value), el("span", { class: "dim" }, `${name}${more}`));
  const loading = query.load_s ? `, up to ${seconds(query.load_s)} of it loading engines` : "";
  return el(
    "article",
    { class: "card" },
    el("h2", {}, queryHead(query), query.optimized ? null : el("span", { class: "tag" }, "not optimized")),
    el(
      "div",
      { class: "facts" },
      big(seconds(query.duration_s), "in all", loading),
      big(grouped(query.spans.length), "primitives", ` in ${count(query.num_batches, "batch", "batches")}`),
      big(grouped(prompt), "prompt tokens", prompt ? `, ${cachedText(query.usage)}` : ""),
      big(grouped(generatedTokens(query.usage)), "generated"),
    ),
    query.warning ? el("p", { class: "warning" }, query.warning) : null,
    query.began ? el("p", { class: "dim" }, `began ${query.began}`) : null,
  );
}

function sumOf(list) {
  const failed = list.filter((query) => !["ok", "running"].includes(query.status)).length;
  const spans = list.reduce((sum, query) => sum + query.spans.length, 0);
  const what = `${count(list.length, "query", "queries")}, ${count(spans, "primitive")}`;
  return `${what}, ${seconds(wholeS)} in all${failed ? `, ${failed} failed` : ""}`;
}

const MOST_FAILURES = 6;

function failures() {
  const failed = queries
    .map((query) => [query, query.spans.filter((span) => span.error)])
    .filter(([query, spans]) => query.error || spans.length);
  if (!failed.length) return null;
  const items = failed.slice(0, MOST_FAILURES).map(([query, spans]) => failure(query, spans));
  if (failed.length > MOST_FAILURES) {
    const more = count(failed.length - MOST_FAILURES, "more query", "more queries");
    items.push(el("li", { class: "dim" }, `and ${more}: tick "failed only"`));
  }
  return el("ul", { id: "failures", class: "error", role: "alert" }, items);
}

function failure(query, spans) {
  const told = spans.slice(0, 3).map((span) => el("div", {}, link(span), ` ${span.error}`));
  if (spans.length > 3) told.push(el("div", {}, `and ${count(spans.length - 3, "primitive")}`));
  return el("li", {}, el("b", {}, `${titleOf(query)}. `), query.error, told);
}

function chooser() {
  if (queries.length < 2) return null;
  const options = queries.map((query, n) =>
    el("option", { value: n }, `${titleOf(query)}, ${seconds(query.duration_s)}`),
  );
  const choose = (event) => {
    Object.assign(selected, { query: queries[event.target.value], span: null, mates: new Set() });
    showQuery();
    drawRows();
  };
  return el("p", {}, el("label", {}, "Query ", el("select", { id: "query", onchange: choose }, options)));
}

function pathSection() {
  const title = el("h2", { id: "path-title" }, "Critical path");
  const about = el("p", { class: "dim" }, "The chain of primitives that ended last, walked back: together its steps are the time of the query.");
  return el("section", { id: "path", "aria-labelledby": "path-title" }, title, about, el("div", { id: "path-table" }));
}

function drawPath() {
  const { path, duration_s } = selected.query;
  const heads = [["step"], ["op"], ["waited for"], ["idle", number], ["queued", number], ["ran", number], ["total", number], ["share", number], [""]];
  const steps = path.steps.map((step, n) => [step, path.steps[n - 1]]);
  const [kept, more] = largest(steps, ([step]) => step.idle_s + step.queue_s + step.run_s);
  const rows = kept.map(([step, before]) => pathRow(step, before, duration_s));
  if (path.steps.length) {
    const share = percent(path.tail_s, duration_s);
    const blanks = Array.from({ length: 5 }, () => cell(""));
    rows.push(...moreRow(more, heads.length));
    rows.push(el("tr", { class: "dim" }, cell("after the last"), blanks, cell(seconds(path.tail_s), number), cell(share, number), cell("")));
  }
  byId("path-table").replaceChildren(rows.length ? table("Critical path", heads, rows) : "No primitive ran.");
}

function pathRow(step, before, duration_s) {
  const span = selected.query.spans[step.span];
  const total = step.idle_s + step.queue_s + step.run_s;
  const cause = before ? selected.query.spans[before.span].node : "the query's begin";
  return el(
    "tr",
    { "data-key": span.key },
    el("td", {}, link(span)),
    cell(span.op, "dim"),
    cell(cause, "dim"),
    [step.idle_s, step.queue_s, step.run_s, total].map((each) => cell(seconds(each), number)),
    cell(percent(total, duration_s), number),
    el("td", { class: "share" }, part([[total, "total"]], duration_s)),
  );
}

function markPath() {
  document.querySelectorAll("#path-table tr[data-key]").forEach((row) => {
    row.classList.toggle("selected", row.dataset.key === selected.span?.key);
  });
}

function part(pieces, whole) {
  const meter = el("div", { class: "meter", "aria-hidden": "true" });
  for (const [value, kind] of pieces) {
    const piece = el("span", { class: kind });
    piece.style.width = whole > 0 ? `${(100 * value) / whole}%` : "0";
    meter.append(piece);
  }
  return meter;
}

function callsSection() {
  const title = el("h2", { id: "calls-title" }, "Calls and tokens");
  const marks = [["computed", "computed"], ["cached", "cached"], ["fused", "fused"]].map(([kind, text]) =>
    el("span", { class: "mark" }, el("span", { class: `sample ${kind}` }), text),
  );
  const about = el("p", { class: "dim" }, "Where prompt tokens came from: ", marks);
  return el("section", { id: "calls", "aria-labelledby": "calls-title" }, title, about, el("div", { id: "calls-table" }));
}

function drawCalls() {
  const { calls, duration_s } = selected.query;
  const most = Math.max(1, ...calls.map((call) => promptTokens(call.usage)));
  const kinds = TOKENS.filter(([, valueOf]) => calls.some((call) => valueOf(call.usage)));
  const times = [["primitives", number], ["start", number], ["time", number], ["critical", number]];
  const heads = [["call"], ["where"], ...times, ...kinds.map(([name]) => [name, number]), [""]];
  const [kept, more] = largest(calls, (call) => call.time_s);
  const rows = kept.map((call) => callRow(call, duration_s, kinds, most));
  rows.push(...moreRow(more, heads.length));
  byId("calls-table").replaceChildren(rows.length ? table("Calls and tokens", heads, rows) : "No call ran.");
}

const TOKENS = [
  ["prompt", promptTokens],
  ["computed", (usage) => usage.prefill_tokens],
  ["cached", (usage) => usage.cached_tokens],
  ["fused", (usage) => usage.fused_tokens],
  ["generated", generatedTokens],
];
const MOST_ROWS = 300;

function largest(rows, sizeOf) {
  // Those of the largest size, in their order, and how many are left out.
  if (rows.length <= MOST_ROWS) return [rows, 0];
  const kept = new Set([...rows].sort((a, b) => sizeOf(b) - sizeOf(a)).slice(0, MOST_ROWS));
  return [rows.filter((row) => kept.has(row)), rows.length - MOST_ROWS];
}

const moreRow = (more, columns) =>
  more ? [el("tr", { class: "dim" }, el("td", { colspan: columns }, `${grouped(more)} shorter ones are left out`))] : [];

const orBlank = (value) => (value ? grouped(value) : "");

function callRow(call, duration_s, kinds, most) {
  const { usage } = call;
  const name = el("td", {}, call.name || "?");
  name.style.paddingInlineStart = `${0.5 + call.depth * 1.2}rem`;
  const times = [call.start_s, call.time_s].map(seconds);
  const critical = call.critical_s ? percent(call.critical_s, duration_s) : "";
  const chunks = call.chunks ? ` (${call.chunks - call.encoded} of ${call.chunks} chunks)` : "";
  const tokens = kinds.map(([kind, valueOf]) => orBlank(valueOf(usage)) + (kind === "fused" ? chunks : ""));
  const pieces = ["prefill", "cached", "fused"].map((kind) => usage[`${kind}_tokens`] || 0);
  const kindsOf = ["computed", "cached", "fused"];
  return el(
    "tr",
    {},
    name,
    cell(call.where, "dim"),
    [grouped(call.num_spans), ...times, critical, ...tokens].map((text) => cell(text, number)),
    el("td", { class: "share" }, part(pieces.map((value, n) => [value, kindsOf[n]]), most)),
  );
}

// Two files

function differenceSection() {
  const { totals, rows } = content.difference;
  const heads = [[""], ["A", number], ["B", number], ["B − A", number], ["B / A", number]];
  const by = (row) => Math.abs(ran(row, 1) - ran(row, 0));
  const [kept, more] = largest([...rows].sort((a, b) => by(b) - by(a)), by);
  const columns = [["primitive"], ["op"], ["runs A", number], ["runs B", number], ["waited A", number], ["waited B", number], ["ran A", number], ["ran B", number], ["B − A", number], ["tokens A", number], ["tokens B", number]];
  return el(
    "section",
    { id: "difference", "aria-labelledby": "difference-title" },
    el("h2", { id: "difference-title" }, "Differences"),
    table("Totals", heads, totalRows(totals)),
    el("h3", {}, "By primitive, the largest difference first"),
    table("Differences by primitive", columns, [...kept.map(differenceRow), ...moreRow(more, columns.length)]),
  );
}

const ran = (row, side) => row.sides[side]?.run_s ?? 0;

function totalRows([a, b]) {
  const plain = (value) => grouped(value);
  const row = (name, valueOf, textOf) => totalRow(name, valueOf(a), valueOf(b), textOf);
  return [
    row("time", (each) => each.duration_s, seconds),
    row("engine time", (each) => each.run_s, seconds),
    row("waiting", (each) => each.queue_s, seconds),
    row("primitives", (each) => each.num_spans, plain),
    row("batches", (each) => each.num_batches, plain),
    row("prompt tokens", (each) => promptTokens(each.usage), plain),
    row("of them computed", (each) => each.usage.prefill_tokens || 0, plain),
    row("of them cached", (each) => each.usage.cached_tokens || 0, plain),
    row("of them fused", (each) => each.usage.fused_tokens || 0, plain),
    row("generated tokens", (each) => generatedTokens(each.usage), plain),
    row("failed primitives", (each) => each.num_errors, plain),
  ];
}

function totalRow(name, a, b, textOf) {
  const by = b - a;
  const delta = by ? `${by > 0 ? "+" : ""}${textOf(by)}` : "0";
  const ratio = a > 0 ? (b / a).toFixed(2) : "-";
  return el("tr", {}, el("th", { scope: "row" }, name), cell(textOf(a), number), cell(textOf(b), number), cell(delta, number, better(by)), cell(ratio, number));
}

const better = (by) => (by > 0 ? "more" : by < 0 ? "less" : "");

function differenceRow(row) {
  const told = (textOf) => row.sides.map((side) => cell(side ? textOf(side) : "-", number));
  const by = ran(row, 1) - ran(row, 0);
  const tokens = (side) => orBlank(promptTokens(side.usage) + generatedTokens(side.usage));
  return el(
    "tr",
    {},
    el("td", {}, row.name),
    cell(row.op, "dim"),
    told((side) => grouped(side.num_runs)),
    told((side) => seconds(side.queue_s)),
    told((side) => seconds(side.run_s)),
    cell(`${by > 0 ? "+" : ""}${seconds(by)}`, number, better(by)),
    told(tokens),
  );
}
