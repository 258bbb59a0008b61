/** The WebSocket to the hub: messages as JSON, units as binary frames; it comes back by itself. */
import { nowNs } from "./header.js";

const BACKOFF_MS = [100, 250, 500, 1000, 2000];
const PING_MS = 1000;
const SILENCE_MS = 6000;
const EXCHANGES = 60;

/** @typedef {{t: string, [field: string]: any}} Message */

export class Link {
  constructor() {
    /** @type {Map<string, Set<(message: any) => void>>} */
    this._handlers = new Map();
    /** @type {WebSocket | null} */
    this._socket = null;
    this._attempt = 0;
    this._timer = 0;
    this._closed = false;
    this._heard = 0;
    /** @type {{trip: number, offset: number}[]} */
    this._exchanges = [];
    /** Hub's clock minus ours, ns. */
    this.offsetNs = 0;
    this.roundTripMs = 0;
    this.connected = false;
    this._pings = 0;
  }

  /**
   * Hear of messages by their type, and of "unit" (ArrayBuffer), "up" and "down" (reason).
   * @param {string} type @param {(message: any) => void} handler @returns {() => void} ends it
   */
  on(type, handler) {
    const handlers = this._handlers.get(type) ?? new Set();
    this._handlers.set(type, handlers);
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  connect() {
    this._closed = false;
    clearTimeout(this._timer); // a second socket would be heard beside this one
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    this._heard = performance.now();
    socket.onmessage = (event) => {
      this._heard = performance.now();
      if (typeof event.data === "string") this._receive(JSON.parse(event.data));
      else this._emit("unit", event.data);
    };
    socket.onclose = () => this._down(socket);
    this._pings = 0;
    this._ping(socket);
  }

  close() {
    this._closed = true;
    clearTimeout(this._timer);
    this._socket?.close();
  }

  /** Send a message; lost while there is no connection. @param {Message} message */
  post(message) {
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(message));
  }

  /** @param {ArrayBuffer} frame */
  postFrame(frame) {
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(frame);
  }

  /** @param {string} type @param {unknown} message */
  _emit(type, message) {
    for (const handler of [...(this._handlers.get(type) ?? [])]) handler(message);
  }

  /** @param {Message} message */
  _receive(message) {
    const now = nowNs();
    if (message.t === "Ping") {
      this.post({ t: "Pong", sent_ns: message["sent_ns"], received_ns: now, answered_ns: nowNs() });
    } else if (message.t === "Pong") {
      this._exchange(message, now);
    } else if (message.t === "Welcome") {
      this.connected = true;
      this._attempt = 0;
      this._emit("up", message);
    } else {
      this._emit(message.t, message);
    }
  }

  /** The exchange with the shortest round trip waited nowhere. @param {Message} pong @param {number} now */
  _exchange(pong, now) {
    const trip = now - pong["sent_ns"] - (pong["answered_ns"] - pong["received_ns"]);
    const offset = (pong["received_ns"] - pong["sent_ns"] + pong["answered_ns"] - now) / 2;
    this._exchanges.push({ trip, offset });
    if (this._exchanges.length > EXCHANGES) this._exchanges.shift();
    const best = this._exchanges.reduce((a, b) => (b.trip < a.trip ? b : a));
    this.offsetNs = best.offset;
    this.roundTripMs = best.trip / 1e6;
    this._emit("clock", best.offset);
  }

  /** @param {WebSocket} socket */
  _ping(socket) {
    if (this._socket !== socket || this._closed) return;
    if (performance.now() - this._heard > SILENCE_MS) {
      this._down(socket);
      return;
    }
    this.post({ t: "Ping", sent_ns: nowNs() });
    this._pings++;
    setTimeout(() => this._ping(socket), this._pings < 6 ? 60 : PING_MS);
  }

  /** @param {WebSocket} socket */
  _down(socket) {
    if (this._socket !== socket) return;
    this._socket = null;
    socket.onclose = socket.onmessage = null;
    socket.close();
    this.connected = false;
    this._exchanges = [];
    this._emit("down", null);
    if (this._closed) return;
    const wait = BACKOFF_MS[Math.min(this._attempt++, BACKOFF_MS.length - 1)];
    this._timer = window.setTimeout(() => this.connect(), wait);
  }
}
