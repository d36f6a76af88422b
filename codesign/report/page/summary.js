// The selected design beside the front: figures with their words, board, choices.

function word(text) {
  return make("span", { class: "word" }, text);
}

function figureRow(label, value, origin, title) {
  const cell = make("td", { class: "value" }, value);
  return make("tr", title ? { title } : {}, make("td", {}, label), cell, make("td", {}, word(origin)));
}

function valueRow(row, key) {
  const { label, word: origin, how } = data.figures[key];
  return figureRow(label, withUnit(key, valueOf(row, key)), origin, how);
}

// Figures of a design that was compiled: its exact cycles in place of the closed form's.
function verifiedRows(detail) {
  const { accuracy, cycles, energy_uj: energy } = detail;
  const rows = [];
  const told = (label, key, value, origin, how) => {
    if (value !== null && value !== undefined) rows.push(figureRow(label, withUnit(key, value), origin, how));
  };
  told("Accuracy, test", "accuracy", accuracy.test, "measured", "int8, on test images that the search never saw");
  told("Accuracy, validation", "accuracy", accuracy.validation, "measured", data.figures.accuracy.how);
  told("Accuracy, float", "accuracy", accuracy.float, "measured", "the network before quantisation, on test images");
  const counted = cycles.simulated_rtl ?? cycles.predicted_exact;
  const origin = cycles.simulated_rtl == null ? "predicted" : "simulated";
  told("Latency", "latency_ms", counted / detail.arch.clock_mhz / 1000, origin, `at ${detail.arch.clock_mhz} MHz`);
  told("Cycles", "cycles", counted, origin, "one inference, weights resident");
  told("Energy", "energy_uj", energy?.total, energy?.word, data.figures.energy_uj.how);
  return rows;
}

function summaryFigures(row) {
  const detail = detailOf(row);
  const replaced = ["accuracy", "latency_ms", "cycles", "energy_uj"];
  const resources = data.resources.map(({ key }) => key);
  const first = detail ? verifiedRows(detail) : replaced.map((key) => valueRow(row, key));
  const others = Object.keys(data.values).filter((key) => !replaced.includes(key) && !resources.includes(key));
  return make("table", { class: "figures" }, make("tbody", {}, ...first, ...others.map((key) => valueRow(row, key))));
}

// A bar of a share, its name before and its amount behind; `tick` marks a limit below the whole.
function bar(name, share, amount, tick = null) {
  const fill = make("i", share > (tick ?? 1) ? { class: "over" } : {});
  fill.style.width = `${100 * Math.min(1, share)}%`;
  const frame = make("span", { class: "bar" }, fill);
  if (tick !== null && tick < 1) {
    const mark = make("s");
    mark.style.left = `${100 * tick}%`;
    frame.append(mark);
  }
  return [make("span", { class: "name" }, name), frame, make("span", { class: "amount" }, amount)];
}

function resourceBars(row) {
  const found = detailOf(row)?.resources;
  const bars = data.resources.flatMap(({ key, limit, share }) => {
    const used = found?.[key] ?? valueOf(row, key);
    if (used === null || (!limit && !used)) return [];
    const amount = limit ? `${number(key, used)} of ${grouped(limit)}` : number(key, used);
    return bar(data.figures[key].label, limit ? used / limit : 1, amount, limit ? share : null);
  });
  return make("div", { class: "bars" }, ...bars);
}

function choiceRows(row) {
  const told = data.parameters
    .map((parameter, at) => [parameter, choiceOf(row, at)])
    .filter(([, value]) => value !== null);
  const rows = told.map(([parameter, value]) =>
    make("tr", {}, make("td", {}, parameter.name), make("td", {}, choiceText(value))));
  return make("table", { class: "choice" }, make("tbody", {}, ...rows));
}

function drawSummary() {
  const target = byId("design");
  if (state.row === null) {
    target.replaceChildren(make("p", { class: "note" }, "No design has been evaluated yet."));
    return;
  }
  const row = state.row;
  const detail = detailOf(row);
  const marks = [];
  if (detail?.bit_exact) marks.push(make("span", { class: "mark good" }, detail.images ? `RTL bit-exact on ${detail.images} images` : "RTL bit-exact"));
  else if (detail) marks.push(make("span", { class: "mark open" }, "RTL differs: no result"));
  else marks.push(make("span", { class: "mark open" }, "not verified"));
  if (!onFront.has(row)) {
    const outside = data.violation[row] !== 0;
    marks.push(make("span", { class: "mark open" }, outside ? "outside the constraints" : "dominated"));
  }
  target.replaceChildren(
    make("h3", {}, `Design ${data.ids[row]}`, ...marks),
    summaryFigures(row),
    make("h3", {}, `Resources of ${data.board} `, word("predicted")),
    resourceBars(row),
    make("details", { open: true }, make("summary", {}, "Choices"), make("div", {}, choiceRows(row))),
  );
}
