// The rows of the waterfall: one a primitive, of two files one a pair of primitives of equal path.

const MANY = 300; // rows, from which on only those of the shown time are listed
const filter = {
  words: [],
  critical: false,
  failed: false,
  inTime: queries.reduce((sum, query) => sum + query.spans.length, 0) > MANY,
  hidden: new Set(),
  order: "ready",
};
const closed = new Set(); // groups whose rows are not shown, unless they are looked for

function groupOf(first, second, number) {
  const queriesOf = [first, second].map((query) => query ?? null);
  const rows = new Map();
  queriesOf.forEach((query, side) => {
    for (const span of query ? query.spans : []) {
      const name = `${span.node} ${span.op}`;
      if (!rows.has(name)) rows.set(name, { spans: [null, null], group: number });
      rows.get(name).spans[side] = span;
    }
  });
  const sorted = [...rows.values()].sort((a, b) => readyOf(a) - readyOf(b));
  return { number, queries: queriesOf, rows: sorted };
}

const spansOf = (row) => row.spans.filter(Boolean);
const readyOf = (row) => Math.min(...spansOf(row).map((span) => at(span, span.ready_s)));
const startOf = (row) => Math.min(...spansOf(row).map((span) => at(span, span.start_s)));
const lengthOf = (row) => Math.max(...spansOf(row).map((span) => span.end_s - span.ready_s));

function passes(span) {
  return (
    !filter.hidden.has(span.engine) &&
    (!filter.critical || span.isCritical) &&
    (!filter.failed || Boolean(span.error)) &&
    (!filter.inTime || isInView(span)) &&
    filter.words.every((word) => span.searched.includes(word))
  );
}

const isInView = (span) => at(span, span.end_s) >= shown.from && at(span, span.ready_s) <= shown.to;

const isSearching = () => filter.words.some(Boolean) || filter.critical || filter.failed;
const isOpen = (group) => !closed.has(group.number) || isSearching();

function rowsShown() {
  return groups.flatMap((group) => {
    const found = group.rows.filter((row) => spansOf(row).some(passes));
    if (filter.order === "start") found.sort((a, b) => startOf(a) - startOf(b));
    if (filter.order === "longest") found.sort((a, b) => lengthOf(b) - lengthOf(a));
    if (!found.length && group.rows.length && (isSearching() || filter.inTime)) return [];
    return [{ head: group, found: found.length }, ...(isOpen(group) ? found : [])];
  });
}

const groups = (content.difference ? content.difference.pairs : queries.map((_, n) => [n, null]))
  .map(([first, second]) => [content.files[0].queries[first], content.files[1]?.queries[second]])
  .map(([first, second], number) => groupOf(first, second, number));

const MANY_GROUPS = 30;
if (groups.length > MANY_GROUPS) groups.forEach((group) => closed.add(group.number));
