// The content of the page: spans with their defaults, engines with their colours.

const NUM_COLOURS = 8;
const SIDES = ["A", "B"];
const content = JSON.parse(byId("content").textContent);
const engines = new Map(); // name -> number of its colour
const spansByKey = new Map();
const queries = content.files.flatMap((file, side) => file.queries.map((q) => asQuery(q, side)));
const isPair = content.files.length === 2;

function asQuery(query, side) {
  query.side = side;
  query.steps = new Map(query.path.steps.map((step) => [step.span, step]));
  query.spans = query.spans.map((given, place) => asSpan(given, place, query));
  return query;
}

function asSpan(given, place, query) {
  const empty = { call: "", items: 0, batch_size: 0, load_s: 0, retries: [], usage: {}, inside: [] };
  const span = { ...empty, ...given, query, place, key: `${query.side}.${query.id}.${place}` };
  span.isCritical = query.steps.has(place);
  span.wait_s = span.start_s - span.ready_s;
  span.run_s = span.end_s - span.start_s;
  const words = [span.node, span.op, span.engine, span.call, span.endpoint, span.error, span.text];
  span.searched = words.filter(Boolean).join(" ").toLowerCase();
  if (!engines.has(span.engine)) engines.set(span.engine, engines.size % NUM_COLOURS);
  while (spansByKey.has(span.key)) span.key += "'"; // a query of another process, of equal name
  spansByKey.set(span.key, span);
  return span;
}

const colourOf = (engine) => `e${engines.get(engine)}`;
const at = (span, time_s) => span.query.offset_s + time_s; // on the time axis of the page
const wholeS = Math.max(...queries.map((query) => query.offset_s + query.duration_s)) || 1e-6;
const titleOf = (query) =>
  `${isPair ? `${SIDES[query.side]}: ` : ""}${query.app || "?"} ${query.id}, ${query.status}`;

const depsOf = (span) =>
  span.deps === undefined ? [] : span.query.dep_lists[span.deps].map((n) => span.query.spans[n]);

function readersOf(span) {
  const lists = new Set();
  span.query.dep_lists.forEach((list, n) => list.includes(span.place) && lists.add(n));
  return span.query.spans.filter((other) => lists.has(other.deps));
}

function batchOf(span) {
  if (span.batch === undefined || span.batch_size < 2) return [];
  const isMate = (other) =>
    other !== span && other.batch === span.batch && other.engine === span.engine;
  return queries
    .filter((query) => query.side === span.query.side)
    .flatMap((query) => query.spans.filter(isMate));
}

const promptTokens = (usage) =>
  (usage.prefill_tokens || 0) + (usage.cached_tokens || 0) + (usage.fused_tokens || 0);
const generatedTokens = (usage) => (usage.decode_tokens || 0) + (usage.forced_tokens || 0);

function workOf(span) {
  const usage = span.usage;
  const told = [
    [usage.num_items, usage.num_items === 1 ? "item" : "items"],
    [usage.remembered_items, "remembered"],
    [usage.prefill_tokens, "prefill"],
    [usage.cached_tokens, "cached"],
    [usage.fused_tokens, "fused"],
    [usage.wasted_tokens, "wasted"],
    [usage.decode_tokens, "decode"],
  ];
  const words = told.filter(([n]) => n).map(([n, word]) => `${grouped(n)} ${word}`);
  return [span.error && "failed", ...words].filter(Boolean).join(" ");
}

function busyS(spans) {
  let [busy, until] = [0, -Infinity];
  for (const [from, to] of spans.map((s) => [at(s, s.start_s), at(s, s.end_s)]).sort(byFirst)) {
    busy += Math.max(0, to - Math.max(from, until));
    until = Math.max(until, to);
  }
  return busy;
}

const byFirst = (a, b) => a[0] - b[0];
