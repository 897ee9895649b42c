// What lies on the time axis: bars of waiting and running, and marks.

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

function queryBar(query) {
  const line = el("div", { class: "bars" });
  if (!query) return line;
  const [from, to] = [query.offset_s, query.offset_s + query.duration_s].map(shareOf);
  if (to >= 0 && from <= 1) placeBar(line, "whole", from, to);
  return line;
}
