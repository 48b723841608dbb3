// The microphone: its sound goes to the server while it is spoken, and stays here to be listened to.

import * as server from "./server.js";
import { clock, texts } from "./texts.js";

const RATE = 16_000;
const PATIENCE_MS = 30_000;
const find = (id) => document.getElementById(id);

/**
 * Records until `stop`. Text comes by the WebSocket while one speaks; where that fails, the whole is sent as a file
 * afterwards, so nothing that was said is lost.
 *
 * Takes what to do with a segment, with unfinished text, and with how long it is so far.
 */
export class LiveRecording {
  constructor({ segment, partial, elapsed, level }) {
    this.on = { segment, partial, elapsed, level };
    this.chunks = [];
    this.samples = 0;
    this.heard = false; // whether the server has said that all is transcribed
  }

  /** Raises Error with a sentence for the person where there is no microphone to be had. */
  async start(options) {
    if (!navigator.mediaDevices) throw new Error(texts.insecure);
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
    } catch (error) {
      throw new Error(error.name === "NotFoundError" ? texts.noMicrophone : texts.denied, { cause: error });
    }
    try {
      await this.open();
    } catch (error) {
      this.release();
      throw error;
    }
    this.socket = server.live(options);
    this.ended = new Promise((resolve) => { this.resolveEnded = resolve; });
    this.socket.addEventListener("open", () => this.chunks.forEach((chunk) => this.socket.send(chunk)), { once: true });
    this.socket.addEventListener("message", ({ data }) => {
      this.lastHeard = performance.now();
      this.told(JSON.parse(data));
    });
    for (const name of ["close", "error"]) this.socket.addEventListener(name, () => this.resolveEnded());
  }

  async open() {
    this.context = new AudioContext({ sampleRate: RATE });
    let source;
    try {
      source = this.context.createMediaStreamSource(this.stream);
    } catch {
      // Firefox does not join a microphone to a context of another rate: the worklet brings it to ours.
      await this.context.close();
      this.context = new AudioContext();
      source = this.context.createMediaStreamSource(this.stream);
    }
    await this.context.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
    this.node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    this.flushed = new Promise((resolve) => { this.resolveFlushed = resolve; });
    this.node.port.onmessage = ({ data }) => this.came(data);
    source.connect(this.node);
    await this.context.resume();
  }

  came({ pcm, peak, end }) {
    if (end) return this.resolveFlushed();
    this.chunks.push(pcm);
    this.samples += pcm.length;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(pcm);
    this.on.level(peak);
    this.on.elapsed(this.samples / RATE);
  }

  told(message) {
    if (message.type === "final") {
      this.on.partial("");
      this.on.segment(message);
    } else if (message.type === "partial") this.on.partial(message.text);
    else if (message.type === "end") this.heard = true;
    // An "error" needs nothing: the socket closes, and the whole is sent as a file, whose answer says what is wrong.
  }

  /** Ends it: {file, seconds}. The last of the text may still be to come. */
  async stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.node.port.postMessage("flush");
    await this.flushed;
    this.release();
    return { file: this.file(), seconds: this.samples / RATE };
  }

  /** Waits for the last text: whether all of it came. */
  async rest() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
    this.lastHeard = performance.now();
    // A line that neither speaks nor closes is broken, too.
    const silence = setInterval(() => performance.now() - this.lastHeard > PATIENCE_MS && this.resolveEnded(), 1000);
    await this.ended;
    clearInterval(silence);
    this.socket.close();
    return this.heard;
  }

  release() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }

  /** What was recorded as a WAV file: 44 bytes of header before the samples (RIFF, PCM, 16 bits). */
  file() {
    const bytes = this.samples * 2;
    const header = new DataView(new ArrayBuffer(44));
    const word = (at, text) => [...text].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
    word(0, "RIFF");
    header.setUint32(4, 36 + bytes, true);
    word(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true);
    header.setUint16(22, 1, true);
    header.setUint32(24, RATE, true);
    header.setUint32(28, RATE * 2, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    word(36, "data");
    header.setUint32(40, bytes, true);
    const name = `${texts.recordingName(new Date().toTimeString().slice(0, 5).replace(":", "."))}.wav`;
    return new File([header, ...this.chunks], name, { type: "audio/wav" });
  }
}

/** The panel that stands in place of the drop area while the microphone is on. */
export const panel = {
  show(on) {
    find("drop").hidden = on;
    find("recording").hidden = !on;
    (on ? find("stop") : find("record")).focus();
  },
  elapsed(seconds) {
    find("recorded").textContent = clock(seconds);
  },
  level(peak) {
    // The ear's scale: half the bar is 30 dB below the loudest.
    find("level").value = peak > 0 ? Math.max(0, 1 + Math.log10(peak) / 3) : 0;
  },
};
