// The selected primitive: its times, what it cost, what it waited for, what it read and wrote.

const selected = { span: null, query: queries[0], mates: new Set() };
const MOST_LINKS = 12;

function detailsSection() {
  return el(
    "aside",
    { id: "details", "aria-label": "Selected primitive", "aria-live": "polite" },
    el("p", { class: "dim" }, "Select a primitive in the waterfall or the graph."),
  );
}

function select(span, { isFromGraph = false } = {}) {
  const isElsewhere = span.query !== selected.query;
  Object.assign(selected, { span, query: span.query, mates: new Set(batchOf(span)) });
  if (isElsewhere) showQuery();
  showInWaterfall(span);
  markGraph();
  markPath();
  if (!isFromGraph) scrollGraph();
  drawDetails(span);
}

function drawDetails(span) {
  const parts = [
    el("h2", {}, el("span", { class: `swatch ${colourOf(span.engine)}` }), span.node),
    el("p", { class: "dim" }, `${span.op} on ${span.engine || "?"}`, place(span)),
    span.error ? el("p", { class: "error", role: "alert" }, span.error) : null,
    facts(timesOf(span)),
    facts(costsOf(span)),
    ...written("Wrote", span.text || ""),
    ...retries(span),
    ...fusion(span),
    ...waited(span),
    ...links("The app inside", firstInside(span), span),
    ...links("Waited for", depsOf(span), span),
    ...links("Read by", readersOf(span), span),
    ...links(`Batch ${span.batch} of ${span.engine}, with`, [...selected.mates], span),
    ...written("In the graph", span.line === undefined ? "" : span.query.lines[span.line]),
  ];
  byId("details").replaceChildren(...parts.flat().filter(Boolean));
}

function place(span) {
  const where = [span.call && ` · call ${span.call}`, span.where && ` · ${span.where}`];
  return where.filter(Boolean).join("");
}

function firstInside(span) {
  const inside = queries.filter((q) => q.side === span.query.side && span.inside.includes(q.id));
  return inside.filter((query) => query.spans.length).map((query) => query.spans[0]);
}

function facts(rows) {
  const told = rows.filter(([, value]) => value !== undefined && value !== "");
  const items = told.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]);
  return told.length ? el("dl", {}, items) : null;
}

function timesOf(span) {
  const step = span.query.steps.get(span.place);
  const of = (time_s) => percent(time_s, span.query.duration_s);
  return [
    ["ready at", seconds(span.ready_s)],
    ["waited", seconds(span.wait_s)],
    ["of it loading", span.load_s ? seconds(span.load_s) : ""],
    ["first token at", span.first_s === undefined ? "" : seconds(span.first_s)],
    ["ran", span.never_ran ? "never" : `${runText(span)} (${of(span.run_s)} of the query)`],
    ["ended at", span.unfinished ? "it did not end" : seconds(span.end_s)],
    ["the plan expected", span.expected_s === undefined ? "" : seconds(span.expected_s)],
    ["critical path", step ? of(step.idle_s + step.queue_s + step.run_s) : "not on it"],
  ];
}

function costsOf(span) {
  const { usage } = span;
  const prompt = promptTokens(usage);
  return [
    ["batch", span.batch === undefined ? "" : `${span.batch}, of ${count(span.batch_size, "request")}`],
    ["endpoint", span.endpoint ?? ""],
    ["items", usage.num_items || span.items || ""],
    ["remembered", usage.remembered_items ? count(usage.remembered_items, "item") : ""],
    ["prompt tokens", prompt ? `${grouped(prompt)}, ${cachedText(usage)}` : ""],
    ["generated tokens", generatedTokens(usage) ? grouped(generatedTokens(usage)) : ""],
    ["wasted tokens", usage.wasted_tokens ? grouped(usage.wasted_tokens) : ""],
    ["tokens a second", rate(span)],
    ["ended because of", span.finish_reason ?? ""],
  ];
}

function cachedText(usage) {
  const prompt = promptTokens(usage);
  const fused = usage.fused_tokens ? `, ${percent(usage.fused_tokens, prompt)} fused` : "";
  return `${percent(usage.cached_tokens || 0, prompt)} cached${fused}`;
}

function rate(span) {
  const tokens = generatedTokens(span.usage);
  const from = span.first_s ?? span.start_s;
  return tokens > 1 && span.end_s > from ? ((tokens - 1) / (span.end_s - from)).toFixed(1) : "";
}

function waited(span) {
  if (!span.why) return [];
  const lines = span.why.map((line) =>
    el("li", line.startsWith("  ") ? { class: "cause" } : {}, line.trim()),
  );
  return [el("h3", {}, "Why it waited"), el("ul", { class: "why" }, lines)];
}

function retries(span) {
  if (!span.retries.length) return [];
  const told = span.retries.map((retry) =>
    el("li", {}, `${seconds(retry.at_s)}: ${retry.error}, again after ${seconds(retry.after_s)}`),
  );
  return [el("h3", {}, "Tried again"), el("ul", {}, told)];
}

function fusion(span) {
  const report = span.fusion;
  if (!report) return [];
  const reused = report.num_chunks - report.num_encoded;
  const rows = report.rows.reduce((sum, n) => sum + n, 0);
  return [
    el("h3", {}, "KV cache fusion"),
    facts([
      ["plan", report.plan],
      ["chunks", `${reused} reused, ${report.num_encoded} encoded`],
      ["computed", percent(rows, report.num_tokens * report.rows.length)],
      ["saved", `${seconds(report.saved_s)} by estimate`],
    ]),
  ];
}

function links(title, spans, self) {
  if (!spans.length) return [];
  const more = spans.length - MOST_LINKS;
  const items = spans.slice(0, MOST_LINKS).map((span) => el("li", {}, link(span, self)));
  if (more > 0) items.push(el("li", { class: "dim" }, `and ${grouped(more)} more`));
  return [el("h3", {}, title), el("ul", { class: "links" }, items)];
}

function link(span, self = span) {
  const name = span.query === self.query ? span.node : `${span.query.id} ${span.node}`;
  return el(
    "button",
    { type: "button", class: "link", "data-node": span.node, onclick: () => select(span) },
    el("span", { class: `swatch ${colourOf(span.engine)}` }),
    name,
  );
}

const written = (title, text) => (text ? [el("h3", {}, title), el("pre", {}, text)] : []);
