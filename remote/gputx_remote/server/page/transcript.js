// The text of one recording, a row for each segment: heard by clicking, corrected by double-clicking or with E.

import { marked, stretch } from "./marks.js";
import { clock, spokenTime, texts } from "./texts.js";
import { spacedWords } from "./writers.js";

/** Tells of "listen" ({from, until}), "correct" ({number, text}) in `detail`. */
export class TranscriptView extends EventTarget {
  constructor(list) {
    super();
    this.list = list;
    this.segments = [];
    this.here = 0; // the row that the Tab key reaches
    this.heard = -1; // the row that is being played
    this.editor = null;
    list.addEventListener("click", (event) => this.clicked(event));
    list.addEventListener("dblclick", (event) => this.doubleClicked(event));
    list.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("focusin", (event) => this.reach(this.numberOf(event.target)));
    document.addEventListener("gputx:language", () => this.relabel());
  }

  /** Keeps what is being written, and ends the writing. */
  finish() {
    this.editor?.close(true, false);
  }

  /** Shows other segments, all of them. */
  show(segments, language) {
    this.editor = null;
    this.segments = segments;
    this.list.lang = language ?? "";
    this.list.replaceChildren(...segments.map((segment, number) => this.row(segment, number)));
    this.list.classList.toggle("hours", (segments.at(-1)?.endMs ?? 0) >= 3_600_000);
    this.here = 0;
    this.heard = -1;
  }

  /** Shows what has come since. */
  grow() {
    for (let number = this.list.children.length; number < this.segments.length; number += 1) {
      this.list.append(this.row(this.segments[number], number));
    }
    this.list.classList.toggle("hours", (this.segments.at(-1)?.endMs ?? 0) >= 3_600_000);
  }

  row(segment, number) {
    const item = document.createElement("li");
    item.dataset.number = String(number);
    const check = document.createElement("span");
    check.className = "check";
    item.append(button("time", ""), document.createElement("p"), check, button("edit", "✎"), button("restore", "↺"));
    this.fill(item, segment, number);
    return item;
  }

  fill(item, segment, number) {
    const [time, text, check, edit, restore] = item.children;
    time.textContent = clock(segment.startMs / 1000);
    this.label(item, segment);
    const reachable = number === this.here ? 0 : -1;
    for (const control of [time, edit, restore]) control.tabIndex = reachable;
    restore.hidden = !segment.corrected;
    check.hidden = !segment.suspect;
    item.classList.toggle("corrected", segment.corrected);
    item.classList.toggle("suspect", segment.suspect);
    text.replaceChildren(...marked(segment));
  }

  label(item, segment) {
    const [time, , check, edit, restore] = item.children;
    const spoken = spokenTime(segment.startMs / 1000);
    time.setAttribute("aria-label", texts.listen(time.textContent));
    edit.setAttribute("aria-label", texts.correct(spoken));
    restore.setAttribute("aria-label", texts.restore);
    restore.title = texts.restore;
    check.textContent = texts.check;
    check.title = texts.checkWhy;
    check.lang = texts.tag;
  }

  relabel() {
    for (const item of this.list.children) this.label(item, this.segments[Number(item.dataset.number)]);
  }

  numberOf(element) {
    return Number(element.closest("li")?.dataset.number ?? -1);
  }

  /** The row Tab leads to: only one has controls in the tab order, so a long text is one stop and not a thousand. */
  reach(number) {
    if (number < 0 || number === this.here) return;
    this.tabbable(this.here, -1);
    this.here = number;
    this.tabbable(number, 0);
  }

  tabbable(number, index) {
    for (const control of this.list.children[number]?.querySelectorAll("button") ?? []) control.tabIndex = index;
  }

  clicked(event) {
    const number = this.numberOf(event.target);
    if (number < 0 || event.target.closest("textarea")) return;
    if (event.target.closest(".edit")) this.edit(number);
    else if (event.target.closest(".restore")) this.restore(number);
    else if (event.target.closest(".time")) this.listen(number);
    else if (event.target.closest("p") && getSelection().isCollapsed) this.listen(number, this.offsetAt(event));
  }

  /** Plays a segment and on; from the word at character `offset` where words have times. */
  listen(number, offset = 0) {
    const segment = this.segments[number];
    const word = offset ? spacedWords(segment).findLast(({ at }) => at <= offset)?.word : null;
    this.dispatchEvent(new CustomEvent("listen", { detail: { from: (word ?? segment).startMs / 1000, until: null } }));
  }

  /** How many characters of the row's text stand before a click. */
  offsetAt(event) {
    const text = event.target.closest("p");
    const position = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const range = position ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
    const node = position?.offsetNode ?? range?.startContainer;
    if (!node || !text.contains(node)) return 0;
    const before = document.createRange();
    before.setStart(text, 0);
    before.setEnd(node, position?.offset ?? range.startOffset);
    return before.toString().length;
  }

  doubleClicked(event) {
    const number = this.numberOf(event.target);
    if (number < 0 || !event.target.closest("p")) return;
    const at = this.offsetAt(event);
    const text = this.segments[number].text;
    const from = text.lastIndexOf(" ", Math.max(at - 1, 0)) + 1;
    const space = text.indexOf(" ", at);
    // The word without the punctuation behind it, which mostly stays.
    const word = text.slice(from, space < 0 ? text.length : space).replace(/[.,!?:;…”"»)]+$/u, "");
    this.edit(number, from, from + word.length);
  }

  key(event) {
    const number = this.numberOf(event.target);
    if (event.target.matches("textarea") || event.ctrlKey || event.metaKey || event.altKey || number < 0) return;
    const last = this.segments.length - 1;
    const goal = { ArrowDown: number + 1, ArrowUp: number - 1, Home: 0, End: last, PageDown: number + 10, PageUp: number - 10 }[event.key];
    if (goal !== undefined) this.focus(Math.max(0, Math.min(last, goal)));
    else if (event.key === "e" || event.key === "E" || event.key === "F2") this.edit(number);
    else return;
    event.preventDefault();
  }

  focus(number) {
    this.reach(number);
    this.list.children[number]?.firstElementChild.focus();
  }

  /** Opens the text of a segment for writing, with characters `from` to `to` selected. */
  edit(number, from = null, to = null) {
    this.editor?.close(true);
    getSelection().removeAllRanges();
    const item = this.list.children[number];
    const segment = this.segments[number];
    const box = document.createElement("textarea");
    box.value = segment.text;
    box.rows = 1;
    box.spellcheck = true;
    box.setAttribute("aria-label", texts.correcting(spokenTime(segment.startMs / 1000)));
    const close = (save, focus = true) => {
      if (this.editor?.close !== close) return;
      this.editor = null;
      box.remove();
      item.children[1].hidden = false;
      if (save && box.value !== segment.text) this.dispatchEvent(new CustomEvent("correct", { detail: { number, text: box.value } }));
      this.fill(item, this.segments[number], number);
      item.classList.remove("editing");
      if (focus) this.focus(number);
    };
    this.editor = { close };
    box.addEventListener("keydown", (event) => this.editorKey(event, segment, close));
    box.addEventListener("blur", () => close(true, false));
    box.addEventListener("input", () => grown(box));
    item.classList.add("editing");
    item.children[1].hidden = true;
    item.append(box);
    grown(box);
    box.focus();
    box.setSelectionRange(from ?? box.value.length, to ?? box.value.length);
  }

  editorKey(event, segment, close) {
    if (event.isComposing) return;
    if (event.key === "Escape") close(false);
    else if (event.key === "Enter" && event.shiftKey) {
      const detail = { from: segment.startMs / 1000, until: segment.endMs / 1000 };
      this.dispatchEvent(new CustomEvent("listen", { detail }));
    } else if (event.key === "Enter") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  restore(number) {
    this.dispatchEvent(new CustomEvent("correct", { detail: { number, text: null } }));
    this.fill(this.list.children[number], this.segments[number], number);
    this.focus(number);
  }

  /** Marks what is heard at `seconds`; keeps it in sight where `follow`. */
  playing(seconds, follow) {
    const ms = seconds * 1000;
    const number = found(this.segments, ms);
    if (number !== this.heard) {
      this.list.children[this.heard]?.classList.remove("heard");
      this.heard = number;
      const item = this.list.children[number];
      item?.classList.add("heard");
      if (item && follow) item.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    }
    this.markWord(number, ms);
  }

  /** The word that is heard, where words have times and the browser can colour text without touching it. */
  markWord(number, ms) {
    if (!window.Highlight) return;
    CSS.highlights.delete("word");
    const segment = this.segments[number];
    const heard = segment && spacedWords(segment).find(({ word }) => word.startMs <= ms && ms < word.endMs);
    if (!heard || this.editor) return;
    const range = stretch(this.list.children[number].children[1], heard.at, heard.at + heard.word.text.length);
    if (range) CSS.highlights.set("word", new Highlight(range));
  }
}

/** The last segment that begins at `ms` or before, unless it is over for more than a second; -1 for none. */
function found(segments, ms) {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (segments[middle].startMs <= ms) low = middle + 1;
    else high = middle;
  }
  return low && ms < segments[low - 1].endMs + 1000 ? low - 1 : -1;
}

function button(name, text) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = name;
  element.textContent = text;
  return element;
}

function grown(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
