// Colours of the style sheet for the plots, and what all plots share.

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function scale() {
  return [[0, colour("low")], [1, colour("high")]];
}

// A colour of the scale: `share` 0 to 1.
function mixed(share) {
  const channels = (name) => {
    const hex = colour(name).slice(1);
    return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  };
  const [low, high] = [channels("low"), channels("high")];
  return `rgb(${low.map((value, at) => Math.round(value + share * (high[at] - value))).join(",")})`;
}

function axis(title, more = {}) {
  return {
    title: { text: title, font: { size: 12, color: colour("muted") }, standoff: 8 },
    gridcolor: colour("line"),
    linecolor: colour("line"),
    zeroline: false,
    tickfont: { size: 12, color: colour("muted") },
    automargin: true,
    separatethousands: true,
    exponentformat: "none",
    ...more,
  };
}

function layout(more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    margin: { l: 56, r: 16, t: 12, b: 44 },
    hoverlabel: {
      bgcolor: colour("surface"),
      bordercolor: colour("faint"),
      font: { size: 12, color: colour("ink"), family: getComputedStyle(document.body).fontFamily },
      align: "left",
    },
    showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("faint"), activecolor: colour("ink") },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...more,
  };
}

function legend(more = {}) {
  return { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 }, ...more };
}

const settings = {
  displaylogo: false,
  showSendToCloud: false, // a button that uploads the plot
  responsive: true,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
};

// Text for plotly, which reads some tags.
function shown(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function draw(id, traces, details) {
  return Plotly.react(byId(id), traces, layout(details), settings);
}

// One, two and five of every decade are written.
function logarithmic() {
  return { type: "log", dtick: "D2" };
}

// The values' range, a little wider.
function around(values, type) {
  if (!values.length) return {};
  const [least, greatest] = extent(type === "log" ? values.map(Math.log10) : values);
  const space = 0.06 * (greatest - least || Math.abs(greatest) || 1);
  return { range: [least - space, greatest + space] };
}

// Logarithmic where the values span more than a factor of 8.
function axisType(values) {
  const [least, greatest] = extent(values);
  return least > 0 && greatest > 8 * least ? "log" : "linear";
}
