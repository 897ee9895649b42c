// How busy each engine was: how many primitives ran there, and how many waited, along the time axis.

const BINS = 400;
const SIDES_SHOWN = isPair ? [0, 1] : [0];

function activityRows() {
  return el("div", { id: "activity", onpointerdown: onBrush }, [...engines.keys()].map(activityRow));
}

function activityRow(engine) {
  const own = queries.flatMap((query) => query.spans.filter((span) => span.engine === engine));
  const sides = SIDES_SHOWN.map((side) => own.filter((span) => span.query.side === side));
  const toggle = (event) => toggleEngine(engine, event.currentTarget);
  const chip = el(
    "button",
    { type: "button", class: "chip", "aria-pressed": "true", "data-engine": engine, title: "Show or hide its rows", onclick: toggle },
    el("span", { class: `swatch ${colourOf(engine)}` }),
    engine || "?",
  );
  const lanes = sides.map((spans) => activityLane(engine, spans));
  const numbers = [() => "", busyText, amountText].map((textOf) =>
    el("span", { class: "number" }, sides.map((spans) => el("span", { class: "line" }, textOf(spans)))),
  );
  return el("div", { class: "row engine" }, chip, el("div", { class: "lane" }, lanes), numbers);
}

const busyText = (spans) => seconds(busyS(spans));

function amountText(spans) {
  const batches = new Set(spans.map((span) => span.batch).filter((batch) => batch !== undefined));
  return `${grouped(spans.length)} in ${count(batches.size, "batch", "batches")}`;
}

function activityLane(engine, spans) {
  const area = (kind) => svg("path", { class: kind });
  const lane = svg(
    "svg",
    { class: `activity ${colourOf(engine)}`, viewBox: `0 0 ${BINS} 1`, preserveAspectRatio: "none", role: "img" },
    area("waiting"),
    area("running"),
  );
  lane.setAttribute("aria-label", `${engine}: ${busyText(spans)} busy`);
  const draw = () => drawActivity(lane, spans);
  whenMoved.push(draw);
  draw();
  return lane;
}

function drawActivity(lane, spans) {
  const running = levels(spans, (span) => [span.start_s, span.never_ran ? span.start_s : span.end_s]);
  const waiting = levels(spans, (span) => [span.ready_s, span.start_s]);
  const both = running.map((level, n) => level + waiting[n]);
  const most = Math.max(1, ...both);
  lane.children[0].setAttribute("d", areaPath(both, most));
  lane.children[1].setAttribute("d", areaPath(running, most));
}

function levels(spans, timesOf) {
  const width = (shown.to - shown.from) / BINS;
  const changes = new Float64Array(BINS + 2);
  const whole = new Float64Array(BINS + 2); // where a span covers a part of a bin
  for (const span of spans) {
    const [from, to] = timesOf(span).map((time_s) => (at(span, time_s) - shown.from) / width);
    const [a, b] = [Math.max(0, from), Math.min(BINS, to)];
    if (b <= a) continue;
    const [first, last] = [Math.floor(a), Math.min(BINS - 1, Math.floor(b))];
    if (first === last) whole[first] += b - a;
    else {
      whole[first] += first + 1 - a;
      whole[last] += b - last;
      changes[first + 1] += 1;
      changes[last] -= 1;
    }
  }
  let level = 0;
  return Array.from({ length: BINS }, (_, n) => (level += changes[n]) + whole[n]);
}

function areaPath(heights, most) {
  const steps = heights.map((height, n) => `L${n} ${y(height, most)}L${n + 1} ${y(height, most)}`);
  return `M0 1${steps.join("")}L${BINS} 1Z`;
}

const y = (height, most) => (height > 0 ? 1 - Math.max(0.08, height / most) : 1).toFixed(3);
