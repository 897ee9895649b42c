// The page: its sections in order, and what follows the chosen query.

function showQuery() {
  const choice = byId("query");
  if (choice) choice.value = String(queries.indexOf(selected.query));
  drawGraph();
  drawPath();
  drawCalls();
}

function nameWidth() {
  const lengthOf = (query) => query.spans.reduce((most, s) => Math.max(most, s.node.length + s.op.length), 0);
  const titleLength = (query) => `${query.app} ${query.id} ${query.status}`.length + 2;
  const longest = Math.max(...queries.map(lengthOf), ...queries.map(titleLength)) + 1;
  const rem = Math.max(9, Math.min(18, longest * 0.46 + 2.5));
  document.documentElement.style.setProperty("--longest", `${rem}rem`);
}

document.body.append(
  header(),
  el(
    "main",
    {},
    el(
      "div",
      { class: "column" },
      isPair ? differenceSection() : null,
      waterfallSection(),
      chooser(),
      pathSection(),
      drawingSection(),
      callsSection(),
    ),
    detailsSection(),
  ),
);
nameWidth();
drawAxis();
refilter({});
showQuery();
addEventListener("resize", () => {
  drawAxis();
  drawRows();
});
