// The critical path, and the calls with their tokens.

const number = "number";

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
