// The sound of the recording that is shown, and where in it we are.

import { clock, spokenTime, texts } from "./texts.js";

const find = (id) => document.getElementById(id);

/** Tells of "moved" (seconds in `detail`) while it plays or is moved, and of "unplayable". */
export class Player extends EventTarget {
  constructor() {
    super();
    this.sound = find("sound");
    this.until = null;
    find("play").addEventListener("click", () => this.toggle());
    find("seek").addEventListener("input", () => this.move(Number(find("seek").value)));
    find("speed").addEventListener("change", () => { this.sound.playbackRate = Number(find("speed").value); });
    for (const name of ["play", "pause", "ended"]) this.sound.addEventListener(name, () => this.show());
    for (const name of ["loadedmetadata", "durationchange"]) this.sound.addEventListener(name, () => this.measure());
    for (const name of ["timeupdate", "seeking"]) this.sound.addEventListener(name, () => this.moved());
    this.sound.addEventListener("error", () => this.refuse());
    document.addEventListener("gputx:language", () => this.show());
  }

  /** Takes the sound at `url`; null for none. `seconds`: its length where the server has told it. */
  load(url, seconds) {
    this.seconds = seconds;
    if (url === this.url) return this.measure();
    this.url = url;
    this.until = null;
    if (url) this.sound.src = url;
    else this.sound.removeAttribute("src");
    this.sound.load();
    this.sound.playbackRate = Number(find("speed").value);
    find("player").hidden = !url;
    document.body.classList.toggle("playing", Boolean(url));
    this.measure();
    this.show();
  }

  /** Plays from `seconds`; up to `until` where it is given. */
  playFrom(seconds, until = null) {
    if (!this.url) return;
    this.move(seconds);
    this.until = until;
    this.start();
  }

  toggle() {
    if (!this.url) return;
    this.until = null;
    if (this.sound.paused) this.start();
    else this.sound.pause();
  }

  start() {
    // Refused where the format can't be played, which "error" tells of, or where another load came between.
    this.sound.play().catch((error) => console.warn("not played", error));
  }

  move(seconds) {
    this.until = null;
    this.sound.currentTime = seconds;
    this.moved();
  }

  moved() {
    const at = this.sound.currentTime;
    if (this.until !== null && at >= this.until) {
      this.until = null;
      this.sound.pause();
    }
    find("seek").value = String(at);
    find("seek").setAttribute("aria-valuetext", spokenTime(at));
    find("now").textContent = clock(at);
    const span = Number(find("seek").max);
    find("seek").style.setProperty("--at", `${span ? (100 * at) / span : 0}%`);
    this.dispatchEvent(new CustomEvent("moved", { detail: at }));
  }

  measure() {
    const told = this.sound.duration;
    const seconds = Number.isFinite(told) ? told : (this.seconds ?? 0);
    find("seek").max = String(seconds);
    find("length").textContent = clock(seconds);
    this.moved();
  }

  show() {
    const playing = !this.sound.paused;
    find("play").setAttribute("aria-label", playing ? texts.pause : texts.play);
    find("play").classList.toggle("on", playing);
  }

  refuse() {
    if (!this.sound.getAttribute("src")) return;
    find("player").hidden = true;
    document.body.classList.remove("playing");
    this.dispatchEvent(new Event("unplayable"));
  }

  get playing() {
    return Boolean(this.url) && !this.sound.paused;
  }
}
