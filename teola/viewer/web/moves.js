// Keys and the mouse in the waterfall.

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
