// The queue as a person sees it, and what stands above a text: its name, its facts, its downloads.

import { clock, took, texts } from "./texts.js";
import { languageName } from "./languages.js";
import { UNSURE } from "./marks.js";
import { WRITERS, written } from "./writers.js";

const find = (id) => document.getElementById(id);

/** What is happening to a recording, in a few words. */
export function stateOf(item) {
  const percent = (part) => Math.floor(100 * part);
  switch (item.state) {
    case "recording": return texts.listening;
    case "uploading": return texts.uploading(percent(item.sent));
    case "busy": return texts.busy(item.retryIn);
    case "running": return texts.running(percent(item.progress));
    default: return texts[item.state];
  }
}

/** Rows of recordings. Tells of "choose" and "remove" with the recording in `detail`. */
export class QueueView extends EventTarget {
  constructor(list) {
    super();
    this.list = list;
    this.rows = new Map();
    document.addEventListener("gputx:language", () => this.rows.forEach((_, item) => this.update(item)));
  }

  add(item) {
    const row = document.createElement("li");
    const show = document.createElement("button");
    show.type = "button";
    show.className = "show";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = item.name;
    const state = document.createElement("span");
    state.className = "state";
    show.append(name, state);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "remove";
    remove.textContent = "×";
    const bar = document.createElement("progress");
    bar.max = 1;
    row.append(show, remove, bar);
    show.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: item })));
    remove.addEventListener("click", () => this.dispatchEvent(new CustomEvent("remove", { detail: item })));
    this.rows.set(item, row);
    this.list.append(row);
    this.update(item);
  }

  update(item) {
    const row = this.rows.get(item);
    if (!row) return;
    const [show, remove, bar] = row.children;
    const state = show.lastElementChild;
    const length = item.state === "done" && item.seconds !== null ? ` · ${clock(item.seconds)}` : "";
    const said = `${stateOf(item)}${length}`;
    if (state.textContent !== said) state.textContent = said;
    row.dataset.state = item.state;
    const ended = ["done", "failed", "cancelled"].includes(item.state);
    remove.setAttribute("aria-label", (ended ? texts.remove : texts.cancel)(item.name));
    remove.title = remove.getAttribute("aria-label");
    bar.hidden = !["uploading", "running", "queued"].includes(item.state);
    bar.setAttribute("aria-label", stateOf(item));
    bar.value = item.state === "uploading" ? item.sent : item.progress;
  }

  choose(item) {
    for (const [other, row] of this.rows) {
      row.classList.toggle("chosen", other === item);
      row.firstElementChild.setAttribute("aria-current", String(other === item));
    }
  }

  /** Takes a row away, and leads the focus to a neighbour if it was there. */
  remove(item) {
    const row = this.rows.get(item);
    if (!row) return;
    const focused = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.rows.delete(item);
    if (focused) (next?.firstElementChild ?? find("choose")).focus();
  }
}

/** The lines above a text. */
export function showHeading(item, unplayable) {
  find("name").textContent = item.name;
  find("facts").textContent = facts(item).join(" · ");
  const finished = ["done", "cancelled", "failed"].includes(item.state);
  find("downloads").hidden = !finished || item.segments.length === 0;
  const trouble = item.trouble ?? (item.state !== "done" ? null : unplayable ? texts.unplayable : item.url ? null : texts.noSound);
  find("trouble").hidden = !trouble;
  find("trouble").textContent = trouble ?? "";
  find("trouble").classList.toggle("bad", Boolean(item.trouble));
  find("nobody").hidden = item.state !== "done" || item.segments.length > 0;
  find("hints").hidden = item.segments.length === 0 || item.state === "recording";
  const unsure = item.segments.some(({ confidence, words }) => words.some(({ probability }) => probability < UNSURE) || (!words.length && confidence !== null && confidence < UNSURE));
  find("legend").hidden = !unsure;
  find("legend").textContent = texts.legend;
  find("partial").hidden = !item.partial;
  find("partial").textContent = item.partial;
}

function facts(item) {
  const language = item.translate ? "en" : item.language;
  const edits = item.segments.filter(({ corrected }) => corrected).length;
  const suspects = item.segments.filter(({ suspect }) => suspect).length;
  return [
    language && languageName(language, texts.tag),
    item.seconds !== null && texts.long(clock(item.seconds)),
    item.state === "done" ? item.took !== null && texts.took(took(item.took)) : stateOf(item),
    item.state === "done" && texts.count(item.segments.length),
    suspects > 0 && texts.toCheck(suspects),
    edits > 0 && texts.edits(edits),
  ].filter(Boolean);
}

/** The transcript as the writers take it, corrections and all. */
export function transcriptOf(item) {
  const last = item.segments.at(-1)?.endMs ?? 0;
  return {
    language: item.language ?? "",
    durationMs: item.seconds === null ? last : Math.round(item.seconds * 1000),
    segments: item.segments,
  };
}

/** Has the browser save the text as a file named after the recording. */
export function download(item, format) {
  const blob = new Blob([written(transcriptOf(item), format)], { type: `${WRITERS[format].type};charset=utf-8` });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${item.name.replace(/\.[^.]{1,5}$/, "")}.${format}`;
  link.click();
  // The browser has taken hold of it by then; Safari needs a moment.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  item.saved = true;
}
