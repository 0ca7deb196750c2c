// Charts of a page's panels, drawn by dygraphs (https://dygraphs.com/) and brought up to date.
"use strict";

const PALETTE = {
  light: ["#2563a8", "#c2571a", "#2c7d4f", "#7a48b0", "#b0305f", "#0f7c86", "#8a6a00", "#5b6472"],
  dark: ["#6aa9f0", "#f0925a", "#63c28d", "#b48bea", "#ef7fa8", "#4fc3cf", "#d9b54a", "#a0a9b8"],
};
const colours = () => PALETTE[isDark() ? "dark" : "light"];
const colour = (index) => colours()[index % colours().length];
const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// Its own legend is written with style attributes, which the policy for content forbids.
Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);

// --- numbers, as the machine writes them (src/appliance/monitoring/unit.rs) -------
function plain(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1000 || (Number.isInteger(value) && size >= 1)) {
    return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  }
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
  return String(Number(value.toFixed(places)));
}
function bytes(value) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(value) < 1024) return `${plain(value)} ${unit}`;
    value /= 1024;
  }
  return `${plain(value)} TiB`;
}
function span(value) {
  const size = Math.abs(value);
  const units = [[1e-3, 1e-6, "µs"], [1, 1e-3, "ms"], [120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"]];
  if (size === 0) return "0 s";
  const [, divisor, unit] = units.find(([below]) => size < below) ?? [0, 86400, "d"];
  return `${plain(value / divisor)} ${unit}`;
}
const WRITE = {
  "count": plain,
  "per-minute": (value) => `${plain(value)}/min`,
  "bytes": bytes,
  "bytes-per-second": (value) => `${bytes(value)}/s`,
  "seconds": span,
  "share": (value) => `${plain(value * 100)} %`,
};
// On the axis the unit stands in the title already, where it is long.
const AXIS = { ...WRITE, "per-minute": plain };

/** Ticks at powers of two for bytes, which are read in KiB, MiB and so on. */
function byteTicks(least, most, pixels, options, dygraph) {
  const step = 2 ** Math.round(Math.log2(Math.max(most - least, 1) / Math.max(2, Math.floor(pixels / 40))));
  const ticks = [];
  for (let value = Math.ceil(least / step) * step; value <= most; value += step) {
    ticks.push({ v: value, label: options("axisLabelFormatter").call(dygraph, value) });
  }
  return ticks;
}

/** Ticks at whole seconds, minutes, hours and days for spans of time. */
const SPANS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
function spanTicks(least, most, pixels, options, dygraph) {
  const wanted = (most - least) / Math.max(2, Math.floor(pixels / 34));
  if (wanted < 1) return Dygraph.numericTicks(least, most, pixels, options, dygraph);
  const step = SPANS.find((one) => one >= wanted) ?? Math.ceil(wanted / 86400) * 86400;
  const ticks = [];
  for (let value = Math.ceil(least / step) * step; value <= most; value += step) {
    ticks.push({ v: value, label: options("axisLabelFormatter").call(dygraph, value) });
  }
  return ticks;
}
const TICKERS = { "bytes": byteTicks, "bytes-per-second": byteTicks, "seconds": spanTicks };

const two = (number) => String(number).padStart(2, "0");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
const day = (date) => date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
function axisTime(date, granularity) {
  if (granularity >= Dygraph.DAILY) return day(date);
  return date.getHours() === 0 && date.getMinutes() === 0 ? day(date) : clock(date);
}

// --- one panel -------------------------------------------------------------------
class Chart {
  constructor(section) {
    this.section = section;
    this.div = section.querySelector(".chart, .spark");
    this.isSpark = this.div.classList.contains("spark");
    this.off = new Set();
    if (this.isSpark) return;
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.tip = document.createElement("output");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.div.after(this.legend);
    this.div.tabIndex = 0;
    this.div.setAttribute("role", "group");
    this.div.setAttribute("aria-label", `Chart of ${section.querySelector("h2").firstChild.textContent.trim()}; the arrow keys say its values`);
    this.div.addEventListener("keydown", (event) => this.step(event));
    this.div.addEventListener("blur", () => this.leave());
  }

  show(panel) {
    this.panel = panel;
    const lines = panel.lines;
    this.section.classList.toggle("blank", lines.length === 0);
    const number = this.section.querySelector(".number");
    if (number) number.textContent = panel.number;
    if (lines.length === 0) {
      this.graph?.destroy();
      this.graph = undefined;
      this.legend?.replaceChildren();
      return;
    }
    const times = lines[0].values.map((_, index) => new Date((panel.start + index * panel.step) * 1000));
    const shown = this.isSpark ? lines.slice(0, 1) : lines;
    const rows = times.map((date, index) => [date, ...shown.map((line) => line.values[index])]);
    const names = shown.map((line, index) => `${index} ${line.name}`);
    const options = this.options(panel, names, times);
    if (this.graph && this.names === names.join("\n")) {
      this.graph.updateOptions({ ...options, file: rows });
    } else {
      this.graph?.destroy();
      this.graph = new Dygraph(this.div, rows, options);
      this.names = names.join("\n");
      if (!this.isSpark) {
        this.div.append(this.tip);
        this.off.clear();
        this.drawLegend();
      }
    }
    this.fillValues(panel);
  }

  options(panel, names, times) {
    const lines = { labels: ["Time", ...names], colors: names.map((_, index) => colour(index)) };
    const window = [times[0].getTime(), times.at(-1).getTime()];
    if (this.isSpark) {
      return {
        ...lines, dateWindow: window, drawGrid: false, fillGraph: true, fillAlpha: 0.14, strokeWidth: 1.4,
        axes: { x: { drawAxis: false }, y: { drawAxis: false } }, interactionModel: {},
        highlightCircleSize: 0, includeZero: panel.unit !== "seconds", xRangePad: 0,
      };
    }
    const stacked = panel.kind === "stacked";
    return {
      ...lines, dateWindow: window, stackedGraph: stacked, fillGraph: stacked || names.length === 1,
      fillAlpha: stacked ? 0.32 : 0.12, strokeWidth: 1.4, includeZero: true, highlightCircleSize: 3,
      gridLineColor: style("--grid"), axisLineColor: style("--line"), connectSeparatedPoints: false, drawGapEdgePoints: true,
      axes: {
        x: { drawGrid: false, axisLabelFormatter: axisTime, pixelsPerLabel: 70 },
        y: {
          axisLabelFormatter: (value) => AXIS[panel.unit](value), axisLabelWidth: 62, pixelsPerLabel: 34,
          ...(TICKERS[panel.unit] ? { ticker: TICKERS[panel.unit] } : {}),
        },
      },
      highlightCallback: (event, x, points, row) => this.hover(x, row, points),
      unhighlightCallback: () => this.leave(),
    };
  }

  hover(x, row, points) {
    const date = new Date(x);
    const list = this.panel.lines
      .map((line, index) => ({ name: line.name, index, value: line.values[row] }))
      .filter((one) => one.value !== null && one.value !== undefined && !this.off.has(one.index))
      .sort((one, other) => other.value - one.value);
    const when = document.createElement("strong");
    when.textContent = this.panel.step >= 900 || Date.now() - x > 86400000 ? `${day(date)} ${clock(date)}` : clock(date);
    const items = list.slice(0, 10).map((one) => {
      const item = document.createElement("span");
      const name = document.createElement("span");
      name.append(swatch(one.index), one.name);
      item.append(name, " ", Object.assign(document.createElement("b"), { textContent: WRITE[this.panel.unit](one.value) }));
      return item;
    });
    this.tip.replaceChildren(when, ...items);
    this.tip.hidden = false;
    const left = points[0]?.canvasx ?? 0;
    const right = left > this.div.clientWidth / 2;
    this.tip.style.left = right ? "" : `${left + 12}px`;
    this.tip.style.right = right ? `${this.div.clientWidth - left + 12}px` : "";
    this.row = row;
  }

  leave() {
    if (this.tip) this.tip.hidden = true;
  }

  step(event) {
    const count = this.panel?.lines[0]?.values.length;
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -count, End: count }[event.key];
    if (event.key === "Escape") this.graph?.clearSelection();
    if (!by || !this.graph) return;
    event.preventDefault();
    this.row = Math.min(count - 1, Math.max(0, (this.row ?? count - 1) + by));
    this.graph.setSelection(this.row);
    const x = (this.panel.start + this.row * this.panel.step) * 1000;
    this.hover(x, this.row, [{ canvasx: this.graph.toDomXCoord(x) }]);
  }

  drawLegend() {
    const items = this.panel.lines.map((line, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.append(swatch(index), line.name);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const on = this.off.has(index);
        if (on) this.off.delete(index);
        else this.off.add(index);
        button.setAttribute("aria-pressed", String(on));
        this.graph.setVisibility(index, on);
      });
      item.append(button);
      return item;
    });
    this.legend.replaceChildren(...items);
  }

  fillValues(panel) {
    const body = this.section.querySelector(".values tbody");
    if (!body) return;
    body.replaceChildren(...panel.summaries.map((one) => {
      const row = document.createElement("tr");
      const head = Object.assign(document.createElement("th"), { scope: "row", textContent: one.name });
      const cells = [one.last, one.least, one.mean, one.most].map((text) => Object.assign(document.createElement("td"), { textContent: text }));
      row.append(head, ...cells);
      return row;
    }));
  }

  recolour() {
    if (!this.graph) return;
    this.show(this.panel);
    if (!this.isSpark) this.drawLegend();
  }
}

function swatch(index) {
  const mark = document.createElement("i");
  mark.className = "swatch";
  mark.style.backgroundColor = colour(index);
  return mark;
}

// --- the page --------------------------------------------------------------------
const charts = new Map();
for (const section of document.querySelectorAll("section[data-panel]")) {
  charts.set(section.dataset.panel, new Chart(section));
}
const fresh = document.getElementById("fresh");
const choice = time.elements.range;
const refresh = document.getElementById("refresh");
let asking;

async function load() {
  asking?.abort();
  asking = new AbortController();
  try {
    const answer = await fetch(`${document.body.dataset.data}?range=${choice.value}`, { signal: asking.signal, cache: "no-store" });
    if (answer.status === 401 || answer.redirected) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    for (const panel of (await answer.json()).panels) charts.get(panel.id)?.show(panel);
    fresh.textContent = `As of ${clock(new Date())}.`;
    document.body.dataset.loaded = choice.value;
  } catch (error) {
    if (error.name !== "AbortError") fresh.textContent = "The machine does not answer; trying again.";
  }
}

let timer;
function plan() {
  clearInterval(timer);
  const seconds = Number(refresh.value);
  if (seconds > 0) {
    timer = setInterval(() => {
      if (!document.hidden) load();
    }, seconds * 1000);
  }
}

choice.addEventListener("change", () => {
  const address = new URL(location.href);
  address.searchParams.set("range", choice.value);
  history.replaceState(null, "", address);
  for (const link of document.querySelectorAll("nav[aria-label=Pages] a")) {
    const target = new URL(link.href);
    target.searchParams.set("range", choice.value);
    link.href = target.href;
  }
  load();
});
refresh.addEventListener("change", plan);
document.addEventListener("theme", () => charts.forEach((chart) => chart.recolour()));
addEventListener("resize", () => charts.forEach((chart) => chart.graph?.resize()));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Number(refresh.value) > 0) load();
});
load();
plan();
