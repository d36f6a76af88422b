// Parallel coordinates of the front's choices and objectives; a range on an axis filters all views.

const AXIS_WIDTH = 92; // px that a name and its values need
const NAME_LENGTH = 12; // characters of a line of it
const COLOURS = 7;

// The axes: objectives, which many choices would push out of sight, then choices. `position` is 0 to 1 for a row, null where it has no value.
function choiceAxes() {
  const choices = data.parameters.map((parameter, at) => choiceAxis(parameter, at));
  const objectives = data.objectives.map(({ key }) => objectiveScale(key));
  return [...objectives, ...choices.filter((at) => at.differs || state.allChoices)];
}

function choiceAxis(parameter, at) {
  const used = [...new Set(data.front.map((row) => data.choice[row][at]))].filter((v) => v !== null);
  const last = parameter.values.length - 1;
  const place = (index) => (last ? index / last : 0.5);
  return {
    name: parameter.name,
    title: `${shown(short(parameter.group.split(".").at(-1)))}<br><b>${inLines(parameter.label)}</b>`,
    differs: used.length > 1,
    position: (row) => (data.choice[row][at] === null ? null : place(data.choice[row][at])),
    ticks: thinned(parameter.values.map((value, index) => [place(index), choiceText(value)])),
  };
}

function objectiveScale(key) {
  const values = frontValues(key);
  const log = axisType(values) === "log";
  const read = log ? Math.log : (value) => value;
  const [least, greatest] = extent(values).map(read);
  const rising = goalOf(key) === "max";
  const share = (value) => (greatest > least ? (read(value) - least) / (greatest - least) : 0.5);
  const tick = (at) => least + (rising ? at : 1 - at) * (greatest - least);
  const told = (at) => withUnit(key, log ? Math.exp(tick(at)) : tick(at));
  return {
    name: key,
    title: `${data.figures[key].word}<br><b>${data.figures[key].label}</b>`,
    position: (row) => {
      const value = valueOf(row, key);
      return value === null ? null : rising ? share(value) : 1 - share(value);
    },
    ticks: greatest > least ? [0, 0.5, 1].map((at) => [at, told(at)]) : [[0.5, told(0.5)]],
  };
}

// Names that are too long differ at their ends.
function short(name) {
  return name.length > NAME_LENGTH ? `…${name.slice(1 - NAME_LENGTH)}` : name;
}

// Long names in two lines, broken behind the dot or underscore nearest to their middle.
function inLines(name) {
  const breaks = [...name.matchAll(/[._]/g)].map((found) => found.index + 1);
  if (name.length <= NAME_LENGTH || !breaks.length) return shown(short(name));
  const off = (at) => Math.abs(at - name.length / 2);
  const middle = breaks.reduce((best, at) => (off(at) < off(best) ? at : best));
  return [name.slice(0, middle), name.slice(middle)].map((line) => shown(short(line))).join("<br>");
}

function thinned(ticks) {
  const step = Math.ceil(ticks.length / 9);
  return ticks.filter((_, at) => at % step === 0 || at === ticks.length - 1);
}

function passes(row) {
  return !state.filtered.has(row);
}

// The front's rows outside a range that was drawn.
function outsideRanges() {
  const drawn = choiceAxes().filter((at) => state.brushes.has(at.name));
  const inside = (row, at) => {
    const [least, greatest] = state.brushes.get(at.name);
    const position = at.position(row);
    return position !== null && position >= least && position <= greatest;
  };
  return new Set(data.front.filter((row) => !drawn.every((at) => inside(row, at))));
}

const rankOf = new Map(data.front.map((row, at) => [row, at / Math.max(1, data.front.length - 1) - 0.5]));

// Designs that share a value lie a little apart, so that all are seen.
function placed(row, at) {
  const position = at.position(row);
  return position !== null && at.differs ? position + 0.03 * (rankOf.get(row) ?? 0) : position;
}

// Lines through these rows.
function lines(rows, axes, more) {
  const [x, y, customdata] = [[], [], []];
  for (const row of rows) {
    axes.forEach((at, index) => {
      x.push(index);
      y.push(placed(row, at));
      customdata.push(row);
    });
    x.push(null);
    y.push(null);
    customdata.push(null);
  }
  const text = customdata.map((row) => (row === null ? "" : hoverText(row)));
  return {
    type: "scatter", mode: "lines+markers", x, y, customdata, text,
    hovertemplate: "%{text}<extra></extra>", ...more,
  };
}

function lineTraces(axes) {
  const kept = data.front.filter(passes);
  const lost = data.front.filter((row) => !passes(row));
  const traces = [];
  if (lost.length) {
    const style = { line: { width: 1, color: colour("line") }, mode: "lines" };
    traces.push({ ...lines(lost, axes, style), hoverinfo: "skip", hovertemplate: null });
  }
  const shares = new Map(kept.map((row) => [row, state.colour ? shade(row) : 0.5]));
  for (let bin = 0; bin < COLOURS; bin += 1) {
    const rows = kept.filter((row) => Math.round(shares.get(row) * (COLOURS - 1)) === bin);
    const hue = state.colour ? mixed(bin / (COLOURS - 1)) : colour("blue");
    if (rows.length) traces.push(lines(rows, axes, { opacity: 0.75, line: { width: 1.3, color: hue }, marker: { size: 4 } }));
  }
  return traces;
}

function tickNotes(axes) {
  const font = { size: 11, color: colour("ink"), shadow: halo() };
  return axes.flatMap((at, index) => at.ticks.map(([y, text]) => (
    { x: index, y, text: shown(text), xanchor: "left", xshift: 5, showarrow: false, font, borderpad: 0 }
  )));
}

function halo() {
  const around = [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1], [1, -1], [-1, 1]];
  return around.map(([x, y]) => `${2 * x}px ${2 * y}px 2px ${colour("surface")}`).join(", ");
}

// The selected design's line: a shape, as the front's ring is.
function chosenLine(axes) {
  if (state.row === null) return [];
  const points = axes.map((at, index) => [index, placed(state.row, at)]).filter(([, y]) => y !== null);
  const path = points.map(([x, y], at) => `${at ? "L" : "M"} ${x},${y}`).join(" ");
  return [{ type: "path", path, line: { color: colour("orange"), width: 3.5 } }];
}

function axisShapes(axes) {
  const drawn = axes.flatMap((at, index) => {
    const line = { type: "line", x0: index, x1: index, y0: 0, y1: 1, layer: "below", line: { color: colour("faint"), width: 1 } };
    const range = state.brushes.get(at.name);
    if (!range) return [line];
    const [y0, y1] = range;
    const fill = { fillcolor: colour("orange"), opacity: 0.3, line: { width: 0 } };
    return [line, { type: "rect", x0: index - 0.05, x1: index + 0.05, y0, y1, ...fill }];
  });
  return [...drawn, ...chosenLine(axes)];
}

function drawChoices() {
  const axes = choiceAxes();
  const frame = byId("choices").parentElement;
  const width = Math.max(frame.clientWidth, (axes.length + 0.6) * AXIS_WIDTH);
  byId("choices").style.width = `${width}px`;
  draw("choices", lineTraces(axes), {
    margin: { l: 46, r: 84, t: 72, b: 14 },
    xaxis: axis("", {
      tickvals: axes.map((_, index) => index), ticktext: axes.map((at) => at.title),
      side: "top", range: [-0.12, axes.length - 0.88], showgrid: false, showline: false, fixedrange: true,
      ticks: "", tickangle: 0, automargin: false,
    }),
    yaxis: axis("", { range: [-0.06, 1.06], visible: false, fixedrange: true }),
    shapes: axisShapes(axes),
    annotations: tickNotes(axes),
    hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "select",
    selections: [],
  });
}

function brush(event) {
  if (!event?.range) return;
  const { x, y } = event.range;
  const [left, right] = [Math.min(...x), Math.max(...x)];
  const [low, high] = [Math.max(-0.03, Math.min(...y)), Math.min(1.03, Math.max(...y))];
  const axes = choiceAxes();
  const inside = axes.filter((_, index) => index >= left && index <= right);
  const nearest = axes[Math.max(0, Math.min(axes.length - 1, Math.round((left + right) / 2)))];
  for (const at of inside.length ? inside : [nearest]) state.brushes.set(at.name, [low, high]);
  filterChanged();
}

function clearBrushes() {
  state.brushes.clear();
  filterChanged();
}

function filterChanged() {
  state.filtered = outsideRanges();
  drawChoices();
  drawFront();
  fillTable();
}
