// The recordings of this tab, and what becomes of each: sent one after the other, transcribed as the server can.

import * as server from "./server.js";
import { keepWork, work } from "./session.js";
import { texts } from "./texts.js";
import { corrected } from "./editing.js";

const FINISHED = ["done", "failed", "cancelled"];

/** One recording. `state`: recording, waiting, uploading, busy, queued, running, finishing, done, failed or cancelled. */
function recording(name, file) {
  return {
    name, file, state: "waiting", sent: 0, progress: 0, retryIn: 0, id: null, segments: [], language: null, spoken: null,
    seconds: null, took: null, trouble: null, stopped: new AbortController(), url: file?.size ? URL.createObjectURL(file) : null,
    saved: true, translate: false, partial: "",
  };
}

/** Tells of "added", "changed" (the recording in `detail`), "segment", "removed" and "refused" (a token is wanted). */
export class Queue extends EventTarget {
  constructor() {
    super();
    this.items = [];
    this.sending = false;
  }

  tell(name, item) {
    this.dispatchEvent(new CustomEvent(name, { detail: item }));
  }

  change(item, fields) {
    Object.assign(item, fields);
    this.tell("changed", item);
  }

  /** Files a person gave. One that is here already without its sound, after a reload, gets its sound back. */
  add(files, options) {
    for (const file of files) {
      const silent = this.items.find((item) => !item.file && item.name === file.name);
      if (silent) {
        this.change(silent, { file, url: URL.createObjectURL(file) });
        continue;
      }
      const item = { ...recording(file.name, file), options, translate: options.translate };
      this.items.push(item);
      this.tell("added", item);
      if (file.size === 0) this.change(item, { state: "failed", trouble: texts.empty(file.name) });
    }
    this.send();
  }

  /** A recording that is being made: its text comes by another way than the queue's. */
  begin(name, options) {
    const item = { ...recording(name, null), state: "recording", options, translate: options.translate };
    this.items.push(item);
    this.tell("added", item);
    return item;
  }

  /** What this tab had begun before it was loaded again. */
  async resume() {
    for (const { id, name, translate, corrections } of work()) {
      if (this.items.some((item) => item.id === id)) continue;
      const item = { ...recording(name, null), state: "queued", id, translate, corrections };
      this.items.push(item);
      this.tell("added", item);
      this.follow(item);
    }
  }

  /** Sends what waits, one at a time: on a slow line the first is then under way soonest. */
  async send() {
    if (this.sending) return;
    this.sending = true;
    try {
      for (let item; (item = this.items.find(({ state }) => state === "waiting"));) {
        if (!(await this.sendOne(item))) return;
      }
    } finally {
      this.sending = false;
    }
  }

  /** Whether the next may be sent. */
  async sendOne(item) {
    this.change(item, { state: "uploading", sent: 0, trouble: null });
    try {
      const job = await server.submit(item.file, item.name, item.options, (sent) => this.change(item, { sent }), item.stopped.signal);
      this.change(item, { state: "queued", id: job.id });
      this.keep();
      this.follow(item);
    } catch (error) {
      if (error.name === "AbortError") return true;
      if (error.status === 401) {
        this.change(item, { state: "waiting" });
        this.tell("refused", item);
        return false;
      }
      if (error.status === 429 || error.status === 503) await this.wait(item, error.retryAfter ?? 5);
      else this.change(item, { state: "failed", trouble: error.message });
    }
    return true;
  }

  async wait(item, seconds) {
    for (let left = Math.ceil(seconds); left > 0 && item.state !== "cancelled"; left -= 1) {
      this.change(item, { state: "busy", retryIn: left });
      await pause(1000, item.stopped.signal);
    }
    if (item.state === "busy") this.change(item, { state: "waiting" });
  }

  /** Listens until the job has ended; a line that breaks is taken up again where it broke. */
  async follow(item) {
    if (item.followed) return;
    item.followed = true;
    try {
      await this.listen(item);
    } finally {
      item.followed = false;
      this.keep();
    }
  }

  async listen(item) {
    let after = "";
    for (let failures = 0; !FINISHED.includes(item.state);) {
      try {
        for await (const event of server.events(item.id, after, item.stopped.signal)) {
          failures = 0;
          after = event.id || after;
          await this.take(item, event);
        }
        if (FINISHED.includes(item.state)) break;
        await pause(500, item.stopped.signal);
      } catch (error) {
        if (error.name === "AbortError") return;
        if (error.status === 401) return this.tell("refused", item);
        if (error.status === 404) this.change(item, { state: "failed", trouble: error.message });
        else if (error.status >= 400 && error.status < 500 && error.status !== 429) {
          this.change(item, { state: "failed", trouble: error.message });
        } else {
          failures += 1;
          this.change(item, { trouble: error.message });
          await pause(Math.min(500 * 2 ** failures, 15_000), item.stopped.signal);
        }
      }
    }
  }

  async take(item, { event, data }) {
    if (event === "segment") {
      this.hear(item, data);
    } else if (event === "progress") {
      this.change(item, { ...(item.state === "queued" && { state: "running" }), ...known(data), trouble: null });
    } else if (event === "end") {
      await this.end(item, data);
    }
  }

  /** One more segment. The server numbers them, so one that is told again after a break is not there twice. */
  hear(item, data) {
    const number = data.id ?? data.index ?? item.segments.length;
    if (number < item.segments.length) return;
    let segment = server.segment(data);
    const correction = item.corrections?.[number];
    if (correction !== undefined) segment = corrected(segment, correction);
    item.segments.push(segment);
    if (item.state === "queued") item.state = "running";
    this.tell("segment", item);
  }

  async end(item, data) {
    const job = data.state ? data : await server.job(item.id);
    const fields = { ...known(job), state: job.state, trouble: job.error?.message ?? null, partial: "" };
    if (job.state === "done") fields.progress = 1;
    this.change(item, fields);
  }

  /** Ends the work on one, and takes it off the page. */
  async remove(item) {
    item.stopped.abort();
    const unfinished = item.id && !FINISHED.includes(item.state);
    this.items = this.items.filter((other) => other !== item);
    item.state = "cancelled"; // whoever waited for it looks at this first
    if (item.url) URL.revokeObjectURL(item.url);
    this.keep();
    this.tell("removed", item);
    // Best done and no more: the job may have ended meanwhile, and its text goes by itself after a while.
    if (item.id && unfinished) await server.cancel(item.id).catch((error) => console.warn("not cancelled", error));
  }

  /** A correction of segment `number`, or with null its taking back. */
  correct(item, number, text) {
    const before = item.segments[number];
    item.segments[number] = text === null ? (before.original ?? before) : corrected(before, text);
    if (item.segments[number] === before) return;
    item.saved = false;
    this.keep();
    this.tell("changed", item);
  }

  keep() {
    keepWork(
      this.items.filter(({ id }) => id).map((item) => ({
        id: item.id, name: item.name, translate: item.translate, corrections: corrections(item),
      })),
    );
  }

  /** With a new token: what was refused is tried again. */
  retry() {
    for (const item of this.items) if (item.id && !FINISHED.includes(item.state)) this.follow(item);
    this.send();
  }
}

/** {number: text}: those of segments that are here, and those kept for segments that are still to come again. */
function corrections({ segments, corrections: kept }) {
  const coming = Object.entries(kept ?? {}).filter(([number]) => Number(number) >= segments.length);
  const here = segments.flatMap((segment, number) => (segment.corrected ? [[number, segment.text]] : []));
  return Object.fromEntries([...here, ...coming]);
}

/** What a job or an event says of a recording; what it leaves out stays as it was. */
function known({ progress, duration, language, processing_time: took }) {
  return {
    ...(progress != null && { progress }),
    ...(duration != null && { seconds: duration }),
    ...(language != null && { language }),
    ...(took != null && { took }),
  };
}

/** Waits; no longer than until `signal`. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
