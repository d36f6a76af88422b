// The designs in two objectives, a third as colour.

const hoverTexts = new Map(); // row -> text, which nothing changes

function hoverText(row) {
  if (!hoverTexts.has(row)) hoverTexts.set(row, composed(row));
  return hoverTexts.get(row);
}

function composed(row) {
  const detail = detailOf(row);
  const verified = detail?.bit_exact ? ", verified in RTL" : "";
  const lines = [`<b>Design ${data.ids[row]}</b>${verified}`];
  const array = arrayOf(row);
  if (array) lines.push(`array ${array}`);
  for (const { key } of data.objectives) {
    const { label, word } = data.figures[key];
    lines.push(`${label}: <b>${withUnit(key, valueOf(row, key))}</b> ${word}`);
  }
  const chosen = data.parameters
    .map((parameter, at) => [parameter, choiceOf(row, at)])
    .filter(([parameter, value]) => value !== null && parameter.group !== "hardware");
  for (const [parameter, value] of chosen.slice(0, 10)) {
    const name = parameter.name.replace(/^(network|prune|quantize)\./, "");
    lines.push(`${shown(name)}: ${shown(choiceText(value))}`);
  }
  if (chosen.length > 10) lines.push(`and ${chosen.length - 10} more choices`);
  return lines.join("<br>");
}

function points(rows, more) {
  const kept = rows.filter((row) => valueOf(row, state.x) !== null && valueOf(row, state.y) !== null);
  return {
    type: "scatter",
    mode: "markers",
    x: kept.map((row) => valueOf(row, state.x) * data.figures[state.x].scale),
    y: kept.map((row) => valueOf(row, state.y) * data.figures[state.y].scale),
    customdata: kept,
    text: kept.map(hoverText),
    hovertemplate: "%{text}<extra></extra>",
    ...more(kept),
  };
}

// Of the front's designs those that no other beats in the two objectives drawn, in order of x.
function outline() {
  const sign = (key) => (goalOf(key) === "max" ? -1 : 1);
  const cost = (row, key) => sign(key) * valueOf(row, key);
  const rows = data.front
    .filter((row) => valueOf(row, state.x) !== null && valueOf(row, state.y) !== null)
    .sort((a, b) => cost(a, state.x) - cost(b, state.x) || cost(a, state.y) - cost(b, state.y));
  let best = Infinity;
  return rows.filter((row) => {
    const better = cost(row, state.y) < best;
    if (better) best = cost(row, state.y);
    return better;
  });
}

function outlineTrace() {
  return points(outline(), () => ({
    mode: "lines",
    name: "best in these two",
    // from one design to the next nothing better than the first is known
    line: { shape: "hv", color: colour("faint"), width: 1.5 },
    hoverinfo: "skip",
    hovertemplate: null,
  }));
}

function frontMarkers(symbol, size) {
  return (rows) => ({
    marker: {
      symbol,
      size,
      opacity: rows.map((row) => (passes(row) ? 1 : 0.15)),
      line: { width: 1, color: colour("surface") },
      ...markerColour(rows),
    },
  });
}

// Where a design stands between the front's least and greatest of what the colours tell: 0 to 1.
function shade(row) {
  const values = frontValues(state.colour);
  const read = axisType(values) === "log" ? Math.log : (value) => value;
  const [least, greatest] = extent(values).map(read);
  return greatest > least ? (read(valueOf(row, state.colour)) - least) / (greatest - least) : 0.5;
}

function markerColour(rows) {
  if (!state.colour) return { color: colour("blue") };
  return { color: rows.map(shade), colorscale: scale(), cmin: 0, cmax: 1 };
}

// What the colours mean, beside their menu: least and greatest of the front.
function drawRamp() {
  const ramp = byId("ramp");
  ramp.hidden = !state.colour || !data.front.length;
  if (ramp.hidden) return;
  const [least, greatest] = extent(frontValues(state.colour));
  ramp.replaceChildren(number(state.colour, least), make("i"), withUnit(state.colour, greatest));
}

function frontTraces() {
  const others = data.ids.map((_, row) => row).filter((row) => !onFront.has(row));
  const feasible = others.filter((row) => data.violation[row] === 0);
  const infeasible = others.filter((row) => data.violation[row] !== 0);
  const open = data.front.filter((row) => !detailOf(row));
  const verified = data.front.filter((row) => detailOf(row));
  const grey = (symbol) => () => ({ marker: { symbol, size: 5, color: colour("faint"), opacity: 0.7 } });
  return [
    { ...points(infeasible, grey("x-thin-open")), name: "outside the constraints" },
    { ...points(feasible, grey("circle")), name: "dominated" },
    outlineTrace(),
    { ...points(open, frontMarkers("circle", 9)), name: "front" },
    { ...points(verified, frontMarkers("diamond", 13)), name: "front, verified in RTL" },
    { type: "scatter", mode: "markers", x: [null], y: [null], name: "selected", customdata: [null],
      marker: { symbol: "circle-open", size: 14, color: colour("orange"), line: { width: 3 } } },
  ].filter((trace) => trace.x.length);
}

// A circle of four curves: plotly's own are half as wide on a logarithmic axis (plotly.js 4.1).
function circle(radius) {
  const [r, c] = [radius, 0.5523 * radius];
  return `M${-r},0 C${-r},${-c} ${-c},${-r} 0,${-r} C${c},${-r} ${r},${-c} ${r},0 ` +
    `C${r},${c} ${c},${r} 0,${r} C${-c},${r} ${-r},${c} ${-r},0 Z`;
}

// A ring of fixed size: a shape, for these are drawn anew much faster than traces.
function ring() {
  const [x, y] = [state.x, state.y].map((key) => state.row === null ? null : valueOf(state.row, key));
  if (x === null || y === null) return [];
  return [{
    type: "path", xsizemode: "pixel", ysizemode: "pixel", path: circle(10),
    xanchor: x * data.figures[state.x].scale, yanchor: y * data.figures[state.y].scale,
    line: { color: colour("orange"), width: 3 },
  }];
}

function objectiveAxis(key) {
  const values = frontValues(key).map((value) => value * data.figures[key].scale);
  const type = axisType(values);
  const arrow = goalOf(key) === "max" ? "higher is better" : "lower is better";
  return axis(`${titleOf(key)}, ${type === "log" ? "log scale, " : ""}${arrow}`, {
    ...(type === "log" ? logarithmic() : {}),
    ...around(values, type),
  });
}

function drawFront() {
  drawRamp();
  draw("front", frontTraces(), {
    xaxis: objectiveAxis(state.x),
    yaxis: objectiveAxis(state.y),
    hovermode: "closest",
    showlegend: true,
    legend: legend(),
    shapes: ring(),
    uirevision: `${state.x} ${state.y}`,
  });
}

function fillAxisMenus() {
  const options = (none) => [
    ...(none ? [make("option", { value: "" }, "none")] : []),
    ...data.objectives.map(({ key }) => make("option", { value: key }, data.figures[key].label)),
  ];
  const [first, second, third] = data.objectives.map(({ key }) => key);
  state.x = second ?? first;
  state.y = first;
  state.colour = third ?? null;
  for (const [id, key] of [["axis-x", "x"], ["axis-y", "y"], ["axis-c", "colour"]]) {
    byId(id).append(...options(key === "colour"));
    byId(id).value = state[key] ?? "";
    byId(id).addEventListener("change", (event) => {
      state[key] = event.target.value || null;
      drawFront();
      drawChoices();
    });
  }
}

function frontNote() {
  const verified = data.front.filter((row) => detailOf(row)).length;
  const shownOthers = data.ids.length - data.front.length;
  const thinned = data.others > shownOthers ? ` (${grouped(shownOthers)} of them drawn)` : "";
  if (!data.front.length) return "No design is on the front yet.";
  const waiting = verified ? `${grouped(verified)} of them compiled and verified bit for bit in RTL` : "none of them verified in RTL yet";
  return (
    `${grouped(data.front.length)} designs that no other beats in all ${data.objectives.length} ` +
    `objectives, ${waiting}; ${grouped(data.others)} others${thinned}. Hover for a design, click to select it; double-click shows the others' whole range.`
  );
}
