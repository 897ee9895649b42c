// What the files are, how their queries went, and what failed.

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
      big(grouped(query.num_spans), "primitives", ` in ${count(query.num_batches, "batch", "batches")}`),
      big(grouped(prompt), "prompt tokens", prompt ? `, ${cachedText(query.usage)}` : ""),
      big(grouped(generatedTokens(query.usage)), "generated"),
    ),
    query.warning ? el("p", { class: "warning" }, query.warning) : null,
    query.began ? el("p", { class: "dim" }, `began ${query.began}`) : null,
  );
}

function sumOf(list) {
  const failed = list.filter((query) => !["ok", "running"].includes(query.status)).length;
  const spans = list.reduce((sum, query) => sum + query.num_spans, 0);
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
