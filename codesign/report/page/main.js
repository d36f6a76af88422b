// Selection and events: everything that shows a design follows `select`.

function select(row) {
  if (row === state.row) return;
  state.row = row;
  history.replaceState(null, "", `#design-${data.ids[row]}`);
  showSelected();
}

function showSelected() {
  markChosen();
  revealChosen();
  drawSummary();
  drawInside();
  Plotly.relayout("front", { shapes: ring() });
  Plotly.relayout("choices", { shapes: axisShapes(choiceAxes()) });
}

function rowOfAddress() {
  const found = /^#design-(\d+)$/.exec(location.hash);
  return (found && rowOf.get(Number(found[1]))) ?? balanced();
}

// Clicks on a design of a plot; clicks on lines, roofs and outlines have no row.
function selectClicked(event) {
  const row = event.points.map((point) => point.customdata).find((value) => Number.isInteger(value));
  if (row !== undefined) select(row);
}

function redraw() {
  drawFront();
  drawChoices();
  drawInside();
  drawHypervolume();
}

function start() {
  document.body.classList.toggle("empty", !data.ids.length);
  fillAxisMenus();
  state.row = rowOfAddress();
  drawHead();
  byId("front-note").textContent = frontNote();
  fillTable();
  drawRun();
  drawFront();
  drawChoices();
  showSelected();
  byId("front").on("plotly_click", selectClicked);
  byId("choices").on("plotly_click", selectClicked);
  byId("choices").on("plotly_selected", brush);
  byId("choices").on("plotly_deselect", clearBrushes);
  byId("filter-clear").addEventListener("click", clearBrushes);
  byId("save-csv").addEventListener("click", saveCsv);
  byId("choices-all").addEventListener("change", (event) => {
    state.allChoices = event.target.checked;
    drawChoices();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", drawChoices);
  // its card grows with the design beside it
  new ResizeObserver(() => Plotly.Plots.resize("front")).observe(byId("front"));
  addEventListener("hashchange", () => {
    const row = rowOfAddress();
    if (row !== null) select(row);
  });
}

start();
