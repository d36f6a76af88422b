// The front as a table: its rows are a radio group, so that arrow keys select as a click does.

const FIXED = ["accuracy", "latency_ms", "cycles", "energy_uj", "lut", "ff", "dsp", "ramb36", "uram"];

function tableColumns() {
  const objectives = data.objectives.map(({ key }) => key);
  const others = FIXED.filter((key) => !objectives.includes(key));
  const told = others.filter((key) => frontValues(key).some((value) => value !== 0));
  return [...objectives, ...told];
}

function sortedFront() {
  const { key, rising } = state.order;
  const sortKey = (row) => (key === "id" ? data.ids[row] : valueOf(row, key) ?? Infinity);
  return [...data.front].sort((a, b) => (rising ? 1 : -1) * (sortKey(a) - sortKey(b)));
}

function sortBy(key) {
  const best = key !== "id" && goalOf(key) === "max" ? false : true;
  state.order = { key, rising: state.order.key === key ? !state.order.rising : best };
  fillTable();
}

function heading(key, label, unit, word) {
  const sorted = state.order.key === key;
  const direction = state.order.rising ? "ascending" : "descending";
  const arrow = sorted ? (state.order.rising ? " ↑" : " ↓") : "";
  const button = make("button", { type: "button", "data-key": key }, label + arrow);
  button.addEventListener("click", () => {
    sortBy(key);
    byId("table").querySelector(`button[data-key="${key}"]`).focus();
  });
  const lines = [button];
  if (unit) lines.push(make("span", { class: "unit" }, ` ${unit}`));
  if (word) lines.push(make("br"), make("span", { class: "word" }, word));
  const attributes = { scope: "col", class: key === "id" ? "text" : "" };
  if (sorted) attributes["aria-sort"] = direction;
  return make("th", attributes, ...lines);
}

function tableRow(row) {
  const id = data.ids[row];
  const radio = make("input", { type: "radio", name: "design", value: String(id), checked: row === state.row });
  radio.addEventListener("change", () => select(row));
  const verified = detailOf(row)?.bit_exact;
  const cells = [
    make("td", { class: "text" }, make("label", {}, radio, `${id}`)),
    make("td", { class: "text" }, arrayOf(row) ?? "–"),
    ...tableColumns().map((key) => make("td", {}, number(key, valueOf(row, key)))),
    make("td", { class: "text" }, data.fidelity[row] ?? ""),
    make("td", { class: "text" }, verified ? make("span", { class: "mark good" }, "bit-exact") : "–"),
  ];
  const element = make("tr", { "data-id": String(id), class: row === state.row ? "chosen" : "" }, ...cells);
  element.addEventListener("click", () => select(row));
  return element;
}

function fillTable() {
  const heads = [
    heading("id", "Design"),
    make("th", { scope: "col", class: "text" }, "Array", make("br"), make("span", { class: "word" }, "P × M × N")),
    ...tableColumns().map((key) => {
      const { label, unit, word } = data.figures[key];
      return heading(key, label, unit, word);
    }),
    make("th", { scope: "col", class: "text" }, "Accuracy after"),
    make("th", { scope: "col", class: "text" }, "RTL", make("br"), make("span", { class: "word" }, "simulated")),
  ];
  const rows = sortedFront().filter(passes).map(tableRow);
  byId("table").replaceChildren(
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...rows),
  );
  const filtered = state.brushes.size > 0;
  byId("filter-clear").hidden = !filtered;
  byId("filter-state").textContent = filtered
    ? `${rows.length} of ${data.front.length} pass the ranges drawn below`
    : "";
}

function markChosen() {
  for (const element of byId("table").querySelectorAll("tbody tr")) {
    const chosen = state.row !== null && element.dataset.id === String(data.ids[state.row]);
    element.classList.toggle("chosen", chosen);
    if (chosen) element.querySelector("input").checked = true;
  }
}

function revealChosen() {
  const element = byId("table").querySelector("tr.chosen");
  const frame = byId("table").parentElement;
  if (!element) return;
  const [top, head] = [element.offsetTop, 48];
  if (top - head < frame.scrollTop || top + 30 > frame.scrollTop + frame.clientHeight) {
    frame.scrollTop = top - frame.clientHeight / 2;
  }
}

function csvField(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveCsv() {
  const keys = Object.keys(data.values);
  const head = ["id", "fidelity", "verified", ...keys, ...data.parameters.map(({ name }) => name)];
  const lines = sortedFront().filter(passes).map((row) => [
    data.ids[row],
    data.fidelity[row],
    detailOf(row)?.bit_exact ?? false,
    ...keys.map((key) => valueOf(row, key)),
    ...data.parameters.map((_, at) => choiceOf(row, at)),
  ]);
  const text = [head, ...lines].map((line) => line.map(csvField).join(",")).join("\n") + "\n";
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: address, download: `${data.name}_front.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
