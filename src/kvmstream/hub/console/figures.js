/** Delays by stage, rates and what is in use, with the last minute as a plot. */
import { element } from "./dom.js";
import { S } from "./strings.js";

const WINDOW_MS = 60_000;
const SHORT_MS = 5_000; // what the table is about

/** @param {number[]} sorted @param {number} share */
function percentile(sorted, share) {
  return sorted.length ? /** @type {number} */ (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]) : NaN;
}

export class Figures {
  constructor() {
    /** @type {{at: number, stages: number[]}[]} */
    this._samples = [];
    /** @type {{at: number, ms: number}[]} */
    this._answers = [];
    /** @type {any} */
    this._last = null;
    this._table = element("table", {});
    this._facts = element("p", {});
    this._plot = element("canvas", { width: 560, height: 120, role: "img", "aria-label": S.lastMinute });
    this.root = element("aside", { class: "figures", hidden: true, "aria-label": S.figures }, this._facts, this._table, this._plot);
  }

  /** A key or button was followed by a picture that changed after it. @param {number} ms until that was drawn */
  answered(ms) {
    this._answers.push({ at: performance.now(), ms });
  }

  /**
   * @param {any} report of the worker
   * @param {Record<string, number | string>} source of the agent
   * @param {{dropped: number, rendition: number} | null} delivery of the hub
   * @param {number} roundTripMs
   */
  take(report, source, delivery, roundTripMs) {
    const now = performance.now();
    for (const stages of report.samples) this._samples.push({ at: now, stages });
    while (this._samples[0] !== undefined && this._samples[0].at < now - WINDOW_MS) this._samples.shift();
    this._answers = this._answers.filter(({ at }) => at > now - WINDOW_MS);
    const last = this._last;
    this._last = { ...report, at: now };
    if (this.root.hidden || last === null) return;
    const seconds = (now - last.at) / 1000;
    /** @param {string} name */
    const rate = (name) => (report[name] - last[name]) / seconds;
    /** @param {string} name */
    const whole = (name) => Math.round(Number(source[name] ?? 0));
    const facts = [
      S.rates(whole("fps"), ...["units", "decoded", "drawn"].map((name) => Math.round(rate(name)))),
      S.mbit(rate("bytes") * 8),
      S.dropped(whole("dropped"), delivery?.dropped ?? 0, report.dropped),
      `${S.roundTrip} ${S.delay(roundTripMs)}`,
    ];
    // The capture's name says by itself what it stands on.
    const { encoder, encoder_reason: why, capture } = source;
    if (encoder) facts.push(S.encoder(encoder, why ? ` (${why})` : ""));
    if (capture) facts.push(S.capture(capture));
    if (delivery?.rendition) facts.push(S.lowRendition);
    if (report.codec) facts.push(`${report.codec}, ${report.acceleration}`);
    this._facts.textContent = facts.join(" · ");
    this._fillTable(now);
    this._draw(now);
  }

  /** @param {number} now */
  _fillTable(now) {
    const recent = this._samples.filter((sample) => sample.at > now - SHORT_MS).map((sample) => sample.stages);
    const rows = S.stages.map((name, i) => ({ name, values: recent.map((stages) => stages[i] ?? 0) }));
    rows.push({ name: S.total, values: recent.map((stages) => stages.reduce((a, b) => a + b, 0)) });
    rows.push({ name: S.inputToPicture, values: this._answers.map(({ ms }) => ms) });
    /** @param {string[]} cells @param {"th" | "td"} kind */
    const line = (cells, kind) =>
      element("tr", {}, ...cells.map((text, i) => element(i ? kind : "th", { scope: i ? null : "row" }, text)));
    this._table.replaceChildren(
      line([S.stage, "p50", "p95"], "th"),
      ...rows.map(({ name, values }) => {
        values.sort((a, b) => a - b);
        const cells = [percentile(values, 0.5), percentile(values, 0.95)];
        return line([name, ...cells.map((value) => (Number.isNaN(value) ? "–" : value.toFixed(1)))], "td");
      }),
    );
  }

  /** @param {number} now */
  _draw(now) {
    const context = this._plot.getContext("2d");
    if (context === null) return;
    const { width, height } = this._plot;
    const colour = getComputedStyle(this.root).color;
    context.clearRect(0, 0, width, height);
    const totals = this._samples.map((sample) => sample.stages.reduce((a, b) => a + b, 0));
    const top = Math.max(50, ...totals.map((value) => Math.min(value, 1000)));
    context.fillStyle = colour;
    context.font = "11px sans-serif";
    context.fillText(`${Math.round(top)} ms`, 2, 11);
    context.globalAlpha = 0.7;
    this._samples.forEach((sample, i) => {
      const x = width - ((now - sample.at) / WINDOW_MS) * width;
      const tall = (Math.min(totals[i] ?? 0, top) / top) * (height - 14);
      context.fillRect(x, height - tall, 2, Math.max(1, tall));
    });
    context.globalAlpha = 1;
  }
}
