/** Shows units by WebCodecs: a worker decodes and draws on the canvas. */
import { element } from "./dom.js";

export class WorkerPlayer {
  static get possible() {
    return typeof VideoDecoder !== "undefined" && "transferControlToOffscreen" in HTMLCanvasElement.prototype;
  }

  /** @param {(message: any) => void} tell */
  constructor(tell) {
    this.surface = element("canvas", { "aria-hidden": true });
    this._worker = new Worker("/console/video-worker.js", { type: "module" });
    const offscreen = this.surface.transferControlToOffscreen();
    this._worker.postMessage({ type: "canvas", canvas: offscreen }, [offscreen]);
    this._worker.onmessage = ({ data }) => tell(data);
  }

  close() {
    this._worker.terminate();
  }

  /** @param {number} channel units of others are none of its business; 0 is none */
  setChannel(channel) {
    this._worker.postMessage({ type: "channel", channel });
  }

  /** @param {number} offsetNs hub's clock minus ours */
  setClock(offsetNs) {
    this._worker.postMessage({ type: "clock", offsetNs });
  }

  /** @param {ArrayBuffer} data it is the worker's from now on @param {number} received */
  unit(data, received) {
    this._worker.postMessage({ type: "unit", data, received }, [data]);
  }
}
