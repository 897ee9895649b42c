// Two files: their totals, and each primitive of the plans in both.

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
