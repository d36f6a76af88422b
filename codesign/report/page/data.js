// The exploration, how its numbers read, and what is selected.

const data = JSON.parse(document.getElementById("data").textContent);
const rowOf = new Map(data.ids.map((id, row) => [id, row]));
const onFront = new Set(data.front);

const state = {
  row: null, // the selected design
  brushes: new Map(), // axis of the choices -> [least, greatest] position that passes
  filtered: new Set(), // rows of the front outside these
  x: data.objectives[0]?.key,
  y: data.objectives[0]?.key,
  colour: null,
  order: { key: data.objectives[0]?.key, rising: data.objectives[0]?.goal === "min" },
  allChoices: false,
};

function byId(id) {
  return document.getElementById(id);
}

// A new element: attributes, then children (elements or text).
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function goalOf(key) {
  return data.objectives.find((objective) => objective.key === key)?.goal ?? "min";
}

function valueOf(row, key) {
  return data.values[key]?.[row] ?? null;
}

function detailOf(row) {
  return data.details[data.ids[row]] ?? null;
}

function frontValues(key) {
  return data.front.map((row) => valueOf(row, key)).filter((value) => value !== null);
}

function extent(values) {
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
}

function grouped(value, digits = 0) {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

// Four significant digits, whole numbers and large ones in full.
function plain(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 10000) return grouped(value);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  return grouped(value, Math.min(digits, 9));
}

function number(key, value) {
  const figure = data.figures[key];
  if (value === null || value === undefined) return "–";
  return figure.digits === null ? plain(value) : grouped(value * figure.scale, figure.digits);
}

function withUnit(key, value) {
  const unit = data.figures[key].unit;
  return unit && value !== null ? `${number(key, value)} ${unit}` : number(key, value);
}

function titleOf(key) {
  const { label, unit } = data.figures[key];
  return unit ? `${label} (${unit})` : label;
}

// A label within a sentence: abbreviations keep their capitals.
function inText(key) {
  const { label } = data.figures[key];
  return label.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
}

function percent(share, digits = 0) {
  return `${grouped(100 * share, digits)} %`;
}

function choiceText(value) {
  return value === null || value === undefined ? "–" : String(value);
}

function choiceOf(row, parameter) {
  const index = data.choice[row][parameter];
  return index === null ? null : data.parameters[parameter].values[index];
}

// "6 x 8 x 8" of the architecture's pixels and channels, where the run chose or verified them.
function arrayOf(row) {
  const names = ["pixels", "in_channels", "out_channels"];
  const arch = detailOf(row)?.arch;
  const sizes = names.map((name) => {
    const parameter = data.parameters.findIndex((at) => at.name === `hardware.${name}`);
    return arch?.[name] ?? (parameter < 0 ? data.arch?.[name] : choiceOf(row, parameter));
  });
  return sizes.every((size) => size !== null && size !== undefined) ? sizes.join(" × ") : null;
}

// The design nearest to the best of every objective at once, verified ones before others.
function balanced() {
  const rows = data.front.filter((row) => detailOf(row));
  const among = rows.length ? rows : data.front;
  let best = null;
  for (const row of among) {
    const distance = data.objectives.reduce((sum, { key, goal }) => {
      const [least, greatest] = extent(frontValues(key));
      const value = valueOf(row, key) ?? (goal === "max" ? least : greatest);
      const lost = goal === "max" ? greatest - value : value - least;
      return sum + (lost / (greatest - least || 1)) ** 2;
    }, 0);
    if (best === null || distance < best.distance) best = { row, distance };
  }
  return best?.row ?? null;
}
