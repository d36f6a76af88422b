// Inside the selected design: layers over time, roofline, cycles, energy, rebuild commands.

const BOUNDS = [
  { name: "array", colour: "blue", shape: "" },
  { name: "DRAM", colour: "orange", shape: "/" },
  { name: "latency", colour: "violet", shape: "." },
];
const PARTS = [
  { key: "compute", label: "compute", colour: "blue" },
  { key: "on_chip", label: "on-chip memories", colour: "green" },
  { key: "dram", label: "DRAM", colour: "orange" },
  { key: "static", label: "static", colour: "faint" },
];
const LAYER_HEIGHT = 26; // px

function boundOf(layer) {
  return BOUNDS.find(({ name }) => name === layer.bound) ?? BOUNDS[2];
}

function layerText(layer, clock) {
  return [
    `<b>${shown(layer.name)}</b> ${shown(layer.op)}`,
    `cycles ${grouped(layer.start)} to ${grouped(layer.end)}: <b>${grouped(layer.cycles)}</b>, ` +
      `${plain(layer.cycles / clock)} µs`,
    `${grouped(layer.macs)} MACs, utilization ${percent(layer.utilization, 1)}`,
    `array at its peak rate: ${grouped(layer.compute_cycles)} cycles`,
    `${grouped(layer.dram_bytes)} B of DRAM traffic, bound by ${layer.bound}`,
  ].join("<br>");
}

function timelineTraces(layers, clock) {
  return BOUNDS.flatMap(({ name, colour: hue, shape }) => {
    const found = layers.filter((layer) => boundOf(layer).name === name);
    if (!found.length) return [];
    const shared = {
      type: "bar", orientation: "h", y: found.map((layer) => layer.name), base: found.map((layer) => layer.start),
      text: found.map((layer) => layerText(layer, clock)), textposition: "none",
      hovertemplate: "%{text}<extra></extra>", legendgroup: name,
    };
    const pattern = { shape, fgcolor: colour(hue), bgcolor: "rgba(0,0,0,0)", size: 6, solidity: 0.25 };
    return [
      { ...shared, name: `bound by ${name}`, x: found.map((layer) => layer.end - layer.start), width: 0.72,
        marker: { color: colour(hue), opacity: 0.45, pattern: shape ? pattern : {}, line: { width: 1, color: colour(hue) } } },
      { ...shared, x: found.map((layer) => layer.compute_cycles), width: 0.3, showlegend: false,
        marker: { color: colour(hue) } },
    ];
  });
}

// The cycles of the inference, by the best that is known.
function endOf({ cycles }) {
  return cycles.simulated_rtl ?? cycles.predicted_exact;
}

function drawTimeline(detail) {
  const { layers, arch } = detail;
  byId("timeline").style.height = `${110 + LAYER_HEIGHT * layers.length}px`;
  draw("timeline", timelineTraces(layers, arch.clock_mhz), {
    barmode: "overlay",
    shapes: [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: endOf(detail), x1: endOf(detail), line: { color: colour("ink"), width: 1.5, dash: "dot" } }],
    xaxis: axis("cycles since the start", { rangemode: "tozero", tickformat: ",d" }),
    yaxis: axis("", { autorange: "reversed", showgrid: false, fixedrange: true,
      categoryorder: "array", categoryarray: layers.map((layer) => layer.name) }),
    showlegend: true,
    legend: legend(),
    hovermode: "closest",
    margin: { l: 90, r: 16, t: 12, b: 44 },
  });
}

// DRAM bytes that limit: the bus moves a beat in each direction in every cycle.
function busBytes(layer) {
  return layer.dram_read_bytes === undefined ? layer.dram_bytes : Math.max(layer.dram_read_bytes, layer.dram_write_bytes);
}

function rooflineTraces(detail, peak, beat) {
  const layers = detail.layers.filter((layer) => layer.macs > 0);
  const moving = layers.filter((layer) => busBytes(layer) > 0);
  const intensity = (layer) => layer.macs / busBytes(layer);
  const ridge = peak / beat;
  const [least, greatest] = extent([ridge, ...moving.map(intensity)]);
  const right = greatest * 12;
  const roof = [least / 8, ridge, right * 2];
  const longest = Math.max(...layers.map((layer) => layer.cycles));
  const area = (layer) => 7 + 17 * Math.sqrt(layer.cycles / longest);
  const marks = BOUNDS.map(({ name, colour: hue }) => {
    const found = layers.filter((layer) => boundOf(layer).name === name);
    return {
      type: "scatter", mode: "markers", name: `bound by ${name}`,
      x: found.map((layer) => (busBytes(layer) ? intensity(layer) : right)),
      y: found.map((layer) => layer.macs / layer.cycles),
      text: found.map((layer) => layerText(layer, detail.arch.clock_mhz)),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol: found.map((layer) => (busBytes(layer) ? "circle" : "triangle-right")),
        size: found.map(area), sizemin: 7, color: colour(hue), opacity: 0.8, line: { width: 1, color: colour("surface") } },
    };
  });
  return [
    { type: "scatter", mode: "lines", x: roof, y: roof.map((x) => Math.min(peak, x * beat)), hoverinfo: "skip",
      name: `roof: ${grouped(peak)} MAC/cycle, ${beat} B/cycle`, line: { color: colour("ink"), width: 1.5 } },
    ...marks,
  ].filter((trace) => trace.x.length);
}

function drawRoofline(detail) {
  const { arch } = detail;
  const peak = arch.pixels * arch.in_channels * arch.out_channels;
  draw("roofline", rooflineTraces(detail, peak, arch.dma_bits / 8), {
    xaxis: axis("MAC per DRAM byte, log scale", logarithmic()),
    yaxis: axis("MAC per cycle, log scale", logarithmic()),
    showlegend: true,
    legend: legend(),
    hovermode: "closest",
  });
}

function cyclesTable(detail) {
  const { predicted_closed_form: closed, predicted_exact: exact, simulated_rtl: simulated } = detail.cycles;
  const truth = simulated ?? exact;
  const against = (value) => {
    if (value === null || value === undefined || value === truth) return "";
    return `${value > truth ? "+" : "−"}${percent(Math.abs(value / truth - 1), 2)}`;
  };
  const row = (how, value, origin) =>
    make("tr", {}, make("td", { class: "text wraps" }, how), make("td", {}, plain(value)), make("td", {}, against(value)),
      make("td", { class: "text" }, word(origin)));
  return make("table", {}, make("thead", {}, make("tr", {},
    make("th", { class: "text", scope: "col" }, "by"), make("th", { scope: "col" }, "cycles"),
    make("th", { scope: "col" }, "off"), make("th", { class: "text", scope: "col" }, "word"))),
  make("tbody", {}, row("closed form", closed, "predicted"), row("machine reference", exact, "predicted"),
    row("RTL in Verilator", simulated, "simulated")));
}

function energySplit(detail) {
  if (!detail.energy_uj) return [make("p", { class: "note" }, "The board has no energy coefficients.")];
  const parts = PARTS.map((part) => ({ ...part, uj: detail.energy_uj[part.key] ?? 0 }));
  const total = detail.energy_uj.total;
  const stack = make("div", { class: "stack", "aria-hidden": "true" });
  const bars = make("tbody");
  for (const { label, colour: hue, uj } of parts) {
    const piece = make("i");
    piece.style.cssText = `flex: ${uj / total} 0 0; background: var(--${hue})`;
    stack.append(piece);
    const key = make("span", { class: "key" });
    key.style.background = `var(--${hue})`;
    bars.append(make("tr", {}, make("td", { class: "text" }, key, label), make("td", {}, `${plain(uj)} µJ`),
      make("td", {}, percent(uj / total, 1))));
  }
  bars.append(make("tr", { class: "total" }, make("td", { class: "text" }, "total"), make("td", {}, `${plain(total)} µJ`), make("td", {}, "")));
  return [stack, make("div", { class: "scroll" }, make("table", {}, bars))];
}

function layerTable(detail) {
  const whole = detail.layers.reduce((sum, layer) => sum + layer.cycles, 0);
  const heads = ["layer", "operation", "cycles", "share", "MACs", "utilization", "at peak rate", "DRAM bytes", "bound by"];
  const isText = (head) => ["layer", "operation", "bound by"].includes(head);
  const rows = detail.layers.map((layer) => make("tr", {},
    make("td", { class: "text" }, layer.name), make("td", { class: "text" }, layer.op),
    make("td", {}, grouped(layer.cycles)), make("td", {}, percent(layer.cycles / whole, 1)),
    make("td", {}, grouped(layer.macs)), make("td", {}, percent(layer.utilization, 1)),
    make("td", {}, grouped(layer.compute_cycles)), make("td", {}, grouped(layer.dram_bytes)),
    make("td", { class: "text" }, layer.bound)));
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col", class: isText(head) ? "text" : "" }, head)))),
    make("tbody", {}, ...rows));
}

// Browsers may refuse: the text is selected in any case.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function command(line) {
  const text = make("pre", {}, line);
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(text);
    button.textContent = (await copied(line)) ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return make("div", { class: "command" }, text, button);
}

function card(title, ...children) {
  return make("div", { class: "card" }, make("h3", {}, title), ...children);
}

function plot(id, label) {
  return make("div", { id, class: "plot", role: "img", "aria-label": label });
}

function drawInside() {
  if (state.row === null) return;
  const detail = detailOf(state.row);
  byId("inside-title").textContent = `Inside design ${data.ids[state.row]}`;
  for (const old of byId("inside").querySelectorAll(".plot")) Plotly.purge(old);
  if (!detail) {
    byId("inside").replaceChildren(card("Not compiled yet", make("p", { class: "note" },
      "Layers over time, roofline and energy by parts are written for designs that were compiled and verified in " +
      "RTL: the finalists, when the search ends, and any other design that this command names:"),
    command(`codesign explore ${data.folder}/problem.yaml -o ${data.folder} --design ${data.ids[state.row]}`)));
    return;
  }
  const words = detail.layers_word ?? "predicted";
  byId("inside").replaceChildren(
    card(`Layers over time, ${words}`, plot("timeline", "Layers over time; the table below holds the same"),
      make("p", { class: "note" }, "A bar reaches from a layer's first cycle to its last; the solid part within is as " +
        "long as the array would take at its peak rate. Behind the last layer the pipeline empties and SAVE ends; the line is the end.")),
    make("div", { class: "pair even" },
      card(`Roofline, ${words}`, plot("roofline", "Layers below the accelerator's roofs; the table below holds the same"),
        make("p", { class: "note" }, "Areas are cycles. Bytes are those of the busier direction of the bus." +
          (detail.layers.every(busBytes) ? "" : " Triangles at the right: layers that move none, for maps and weights are on chip."))),
      make("div", { class: "card" }, make("h3", {}, "Cycles of one inference"), make("div", { class: "scroll" }, cyclesTable(detail)),
        make("h3", {}, "Energy of one inference, modelled"), ...energySplit(detail))),
    make("div", { class: "card" }, make("h3", {}, `Layers, ${words}`), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Layers, scrolls sideways" }, layerTable(detail))),
    card("Rebuild", make("p", { class: "note" }, "From the folder that the exploration was started in:"), ...detail.rebuild.map(command)),
  );
  drawTimeline(detail);
  drawRoofline(detail);
}
