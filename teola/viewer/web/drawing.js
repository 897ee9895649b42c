// The graph in layers. Places come with the page; colours are the engines'.

const graph = { scale: 1 };

function drawingSection() {
  const button = (text, label, act) =>
    el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
  return el(
    "section",
    { id: "graph", "aria-labelledby": "graph-title" },
    el("h2", { id: "graph-title" }, "Graph"),
    el(
      "div",
      { class: "toolbar" },
      el("span", { id: "graph-about", class: "dim" }),
      el("span", { class: "gap" }),
      button("−", "Make the graph smaller", () => scaleTo(graph.scale / 1.25)),
      button("+", "Make the graph larger", () => scaleTo(graph.scale * 1.25)),
      button("fit", "Fit the graph to its width", scaleToFit),
    ),
    el("div", { id: "canvas", class: "canvas", tabindex: "0", role: "region", "aria-label": "Graph" }),
  );
}

function drawGraph() {
  const drawing = selected.query.drawing;
  const stands = `one box is one ${drawing.one_is}`;
  const sizes = `${count(drawing.boxes.length, "box", "boxes")}, ${count(drawing.lines.length, "edge")}`;
  byId("graph-about").textContent = `${titleOf(selected.query)}: ${sizes}; ${stands}`;
  const picture = svg("svg", { id: "picture", role: "group", "aria-label": "Primitives by depth" });
  picture.append(...drawing.lines.map(drawLine), ...drawing.boxes.map(drawBox));
  byId("canvas").replaceChildren(picture);
  scaleToFit();
}

function drawLine(line) {
  const states = [line.critical && "critical", line.again && "again"].filter(Boolean);
  const path = svg("path", { d: line.again ? aroundPath(line.points) : downPath(line.points) });
  const head = arrow(line.points.at(-1));
  return svg("g", { class: ["edge", ...states].join(" ") }, path, head);
}

function downPath(points) {
  let path = `M${points[0]}`;
  for (let n = 1; n < points.length; n += 1) {
    const [[x0, y0], [x1, y1]] = [points[n - 1], points[n]];
    const middle = (y0 + y1) / 2;
    path += `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
  }
  return path;
}

function aroundPath([[x0, y0], [x1, y1]]) {
  const side = Math.min(x0, x1) - 90;
  return `M${x0} ${y0}C${side} ${y0 + 30} ${side} ${y1 - 30} ${x1} ${y1}`;
}

const arrow = ([x, y]) => svg("path", { class: "arrow", d: `M${x - 4} ${y - 7}L${x} ${y}L${x + 4} ${y - 7}Z` });

function drawBox(box) {
  const [[x, y], [width, height]] = [box.corner, box.size];
  const states = [box.critical && "critical", box.failed && "failed"].filter(Boolean);
  const spans = box.spans.map((place) => selected.query.spans[place]);
  const label = [...box.labels, ...states].join(", ");
  const choose = () => select(longest(spans), { isFromGraph: true });
  const press = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose();
  };
  const drawn = svg(
    "g",
    {
      class: ["box", colourOf(box.engine), ...states].join(" "),
      transform: `translate(${x} ${y})`,
      "data-name": box.name,
      tabindex: "0",
      role: "button",
      "aria-label": label,
      onclick: choose,
      onkeydown: press,
    },
    svg("title", {}, `${box.name}\n${box.engine}`),
    svg("rect", { class: "frame", width, height, rx: 6 }),
    svg("rect", { class: "stripe", width: 5, height, rx: 2.5 }),
    svg("text", { class: "label", x: 13, y: 18 }, box.labels[0]),
    svg("text", { class: "sub", x: 13, y: 35 }, box.labels[1]),
  );
  drawn.setAttribute("aria-pressed", String(spans.includes(selected.span)));
  return drawn;
}

const longest = (spans) => spans.reduce((a, b) => (b.end_s - b.ready_s > a.end_s - a.ready_s ? b : a));

function markGraph() {
  const drawing = selected.query.drawing;
  const at = drawing.boxes.findIndex((box) => selected.span && box.spans.includes(selected.span.place));
  document.querySelectorAll("#picture .box").forEach((drawn, n) => {
    drawn.setAttribute("aria-pressed", String(n === at));
  });
}

function scrollGraph() {
  const drawn = document.querySelector('#picture .box[aria-pressed="true"]');
  const canvas = byId("canvas");
  if (!drawn) return;
  const [box, around] = [drawn.getBoundingClientRect(), canvas.getBoundingClientRect()];
  if (box.top < around.top || box.bottom > around.bottom)
    canvas.scrollTop += box.top - around.top - around.height / 2;
  if (box.left < around.left || box.right > around.right)
    canvas.scrollLeft += box.left - around.left - around.width / 2;
}

const PAD = 16;

function scaleTo(scale) {
  const [width, height] = selected.query.drawing.size;
  const room = selected.query.drawing.lines.some((line) => line.again) ? 80 : 0;
  graph.scale = Math.max(0.1, Math.min(4, scale));
  const [w, h] = [width + 2 * PAD + room, height + 2 * PAD];
  const picture = byId("picture");
  picture.setAttribute("viewBox", `${-PAD - room} ${-PAD} ${w} ${h}`);
  picture.setAttribute("width", w * graph.scale);
  picture.setAttribute("height", h * graph.scale);
}

function scaleToFit() {
  const width = selected.query.drawing.size[0] + 2 * PAD;
  scaleTo(Math.max(0.45, Math.min(1, (byId("canvas").clientWidth - 4) / width)));
}
