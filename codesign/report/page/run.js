// What the run did: head of the page, front's growth, counts, words, provenance.

function duration(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

const STATES = {
  finished: "finished",
  interrupted: "interrupted, can be continued",
  running: "was running when this page was written",
};

function drawHead() {
  const { run } = data;
  const counts = run.counts;
  byId("name").textContent = data.name;
  const goals = data.objectives.map(({ key, goal }) => `${goal === "max" ? "greatest" : "least"} ${inText(key)}`);
  byId("summary").textContent =
    `${sentence(goals)} on ${data.board}: ${grouped(counts.closed_form ?? 0)} designs weighed in closed form, ` +
    `accuracy of ${grouped(counts.accuracy ?? 0)} networks measured, ${grouped(data.front.length)} designs on ` +
    `the front, ${grouped(counts.verified ?? 0)} compiled and verified in RTL.`;
  const facts = [
    ["state", STATES[run.state] ?? run.state],
    ["time", duration(run.elapsed_s ?? 0)],
    ["sampler", run.sampler],
    ["seed", String(run.seed)],
    ...limits(run.constraints),
  ];
  byId("facts").append(...facts.map(([name, text]) => make("li", {}, `${name} `, make("b", {}, text))));
}

function sentence(goals) {
  const text = goals.length > 1 ? `${goals.slice(0, -1).join(", ")} and ${goals.at(-1)}` : goals.join("");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function limits(constraints) {
  const told = (bounds, sign) =>
    Object.entries(bounds ?? {}).map(([key, value]) =>
      data.figures[key] ? [inText(key), `${sign} ${withUnit(key, value)}`] : [key, `${sign} ${value}`]);
  return [...told(constraints?.min, "≥"), ...told(constraints?.max, "≤")];
}

function drawHypervolume() {
  const growth = [[0, 0], ...(data.run.hypervolume ?? [])];
  draw("hypervolume", [{
    type: "scatter", mode: "lines", x: growth.map(([time]) => time / 60), y: growth.map(([, value]) => value),
    line: { shape: "hv", color: colour("blue"), width: 2.5 }, hovertemplate: "%{x:.1f} min: %{y:.4g}<extra></extra>",
  }], {
    xaxis: axis("minutes", { rangemode: "tozero" }),
    yaxis: axis("hypervolume", { rangemode: "tozero" }),
  });
  const corner = Object.entries(data.run.reference_point ?? {}).map(([key, value]) =>
    data.figures[key] ? `${inText(key)} ${withUnit(key, value)}` : `${key} ${value}`);
  byId("hypervolume-note").textContent = corner.length
    ? `Share of the objectives' space that the front dominates, between the best of each and ${corner.join(", ")}.`
    : "";
}

function countBars(title, rows) {
  const greatest = Math.max(1, ...rows.map(([, count]) => count));
  return [
    make("h3", {}, title),
    rows.length
      ? make("div", { class: "bars" }, ...rows.flatMap(([name, count]) => bar(name, count / greatest, grouped(count))))
      : make("p", { class: "note" }, "none"),
  ];
}

function byCount(counts) {
  return Object.entries(counts ?? {})
    .map(([reason, count]) => [data.figures[reason]?.label ?? reason, count])
    .sort((a, b) => b[1] - a[1]);
}

function drawCounts() {
  const counts = data.run.counts ?? {};
  const stages = [
    ["designs weighed in closed form", counts.closed_form],
    ["networks whose accuracy was measured", counts.accuracy],
    ["networks fine-tuned", counts.finetuned],
    ["designs kept", data.front.length + data.others],
    ["designs on the front", data.front.length],
    ["designs verified in RTL", counts.verified],
  ].filter(([, count]) => count !== undefined);
  const failed = byCount(counts.failed);
  byId("counts").replaceChildren(
    make("h3", {}, "Stages"),
    make("dl", { class: "numbers" }, ...stages.flatMap(([name, count]) => [make("dt", {}, name), make("dd", {}, grouped(count))])),
    ...countBars("Designs rejected before anything costly, by reason", byCount(counts.rejected)),
    ...(failed.length ? countBars("Networks that could not be evaluated, by reason", failed) : []),
  );
}

function pairs(entries) {
  return make("dl", {}, ...entries.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
}

function drawWords() {
  const rows = Object.values(data.figures).map(({ label, word: origin, how }) => [label, `${origin}: ${how}`]);
  byId("words").replaceChildren(make("h3", {}, "Where the numbers come from"), pairs(rows));
}

function drawProvenance() {
  const { run } = data;
  const { seconds, trials } = run.budget ?? {};
  const budget = [seconds && duration(seconds), trials && `${grouped(trials)} designs`].filter(Boolean);
  const rows = [
    ["started", run.started],
    ["budget", budget.join(", ")],
    ["seed", String(run.seed)],
    ["sampler", run.sampler],
    ...Object.entries(run.versions ?? {}),
  ].filter(([, text]) => text);
  byId("provenance").replaceChildren(make("h3", {}, "To repeat it"), pairs(rows));
}

function drawRun() {
  drawHypervolume();
  drawCounts();
  drawWords();
  drawProvenance();
}
