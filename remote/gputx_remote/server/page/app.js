// The page: joins the queue, the text, the sound, the microphone and the server's token.

import { LiveRecording, panel } from "./recording.js";
import { options, prepare } from "./options.js";
import { Player } from "./player.js";
import { Queue } from "./queue.js";
import { QueueView, download, showHeading, stateOf, transcriptOf } from "./view.js";
import { TranscriptView } from "./transcript.js";
import { keepToken, token } from "./session.js";
import { health, model } from "./server.js";
import { texts } from "./texts.js";
import { written } from "./writers.js";

const find = (id) => document.getElementById(id);
const queue = new Queue();
const list = new QueueView(find("queue"));
const text = new TranscriptView(find("segments"));
const player = new Player();
let chosen = null;
let unplayable = false;
let scrolled = 0; // when the person last scrolled

// ---- recordings

function add(files) {
  if (!files.length) return;
  queue.add([...files], options());
}

function choose(item) {
  if (chosen === item) return;
  text.finish();
  chosen = item;
  unplayable = false;
  list.choose(item);
  find("text").hidden = !item;
  document.body.classList.toggle("empty", queue.items.length === 0);
  if (!item) return player.load(null, null);
  text.show(item.segments, item.translate ? "en" : item.language);
  player.load(item.url, item.seconds);
  showHeading(item, unplayable);
}

function announce(message) {
  find("status").textContent = message;
}

function complain(message) {
  find("alert").textContent = message;
  find("alert").hidden = !message;
}

queue.addEventListener("added", ({ detail: item }) => {
  list.add(item);
  document.body.classList.remove("empty");
  if (!chosen || item.state === "recording") choose(item);
});

const said = new WeakMap();
queue.addEventListener("changed", ({ detail: item }) => {
  list.update(item);
  if (said.get(item) !== item.state) {
    said.set(item, item.state);
    if (item.state !== "busy") announce(texts.announced(item.name, item.trouble ?? stateOf(item)));
  }
  const share = Math.floor(100 * item.progress);
  if (item === chosen) document.title = item.state === "running" ? `${share} % · ${item.name}` : "gputx";
  if (item !== chosen) return;
  find("segments").lang = (item.translate ? "en" : item.language) ?? "";
  player.load(item.url, item.seconds);
  showHeading(item, unplayable);
});

queue.addEventListener("segment", ({ detail: item }) => {
  list.update(item);
  if (item !== chosen) return;
  const atEnd = innerHeight + scrollY > document.documentElement.scrollHeight - 80;
  text.grow();
  showHeading(item, unplayable);
  if (atEnd && item.state === "recording") scrollTo(0, document.documentElement.scrollHeight);
});

queue.addEventListener("removed", ({ detail: item }) => {
  list.remove(item);
  if (item === chosen) choose(queue.items.at(-1) ?? null);
});

queue.addEventListener("refused", () => ask(true));
list.addEventListener("choose", ({ detail: item }) => choose(item));
list.addEventListener("remove", ({ detail: item }) => queue.remove(item));

find("choose").addEventListener("click", () => find("files").click());
find("files").addEventListener("change", () => {
  add(find("files").files);
  find("files").value = "";
});

for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(event.dataTransfer.files);
});

// ---- the microphone

let live = null;

find("record").addEventListener("click", async () => {
  complain("");
  if (!token() && !(await ask(false))) return;
  const item = { current: null };
  live = new LiveRecording({
    segment: (told) => item.current && queue.hear(item.current, told),
    partial: (words) => item.current && queue.change(item.current, { partial: words }),
    elapsed: panel.elapsed,
    level: panel.level,
  });
  try {
    const wanted = options();
    await live.start(wanted);
    item.current = queue.begin(live.file().name, wanted);
    live.item = item.current;
    live.wanted = wanted;
    panel.show(true);
  } catch (error) {
    live = null;
    complain(error.message);
  }
});

find("stop").addEventListener("click", async () => {
  const ending = live;
  live = null;
  panel.show(false);
  const { item } = ending;
  const { file, seconds } = await ending.stop();
  queue.change(item, { file, url: URL.createObjectURL(file), seconds, state: "finishing" });
  if (await ending.rest()) {
    queue.change(item, { state: "done", partial: "", language: ending.wanted.language || null });
    return;
  }
  // The live line broke: the whole is sent as any file is.
  item.segments.length = 0;
  text.show(item.segments, null);
  queue.change(item, { state: "waiting", partial: "" });
  queue.send();
});

// ---- listening and correcting

text.addEventListener("listen", ({ detail: { from, until } }) => player.playFrom(from, until));
text.addEventListener("correct", ({ detail: { number, text: words } }) => queue.correct(chosen, number, words));
player.addEventListener("moved", ({ detail: at }) => text.playing(at, player.playing && performance.now() - scrolled > 4000));
player.addEventListener("unplayable", () => {
  unplayable = true;
  if (chosen) showHeading(chosen, unplayable);
});
for (const name of ["wheel", "touchmove"]) addEventListener(name, () => { scrolled = performance.now(); }, { passive: true });

addEventListener("keydown", (event) => {
  if (event.key !== " " || event.ctrlKey || event.metaKey || event.altKey || find("ask").open) return;
  if (event.target.closest("input, select, textarea, summary, button:not(.time)")) return;
  event.preventDefault();
  player.toggle();
});

find("downloads").addEventListener("click", async (event) => {
  const format = event.target.dataset.format;
  if (format) download(chosen, format);
  else if (event.target.id === "copy") {
    await navigator.clipboard.writeText(written(transcriptOf(chosen), "txt"));
    chosen.saved = true;
    announce(texts.copied);
    find("copy").textContent = texts.copied;
    setTimeout(() => { find("copy").textContent = texts.copy; }, 2000);
  }
});

addEventListener("beforeunload", (event) => {
  const unsaved = queue.items.some((item) => !item.saved || ["recording", "uploading", "waiting", "busy", "finishing"].includes(item.state));
  if (unsaved) event.preventDefault();
});

// ---- the token

let answered = null;
let again = 0; // the timer of the next greeting

/** Asks for the token; whether one was given that the server knows. */
function ask(wrong) {
  find("wrong").hidden = !wrong || !token();
  find("wrong").textContent = texts.tokenWrong;
  find("given").value = "";
  if (!find("ask").open) find("ask").showModal();
  return new Promise((resolve) => {
    const before = answered;
    answered = (known) => {
      before?.(known);
      resolve(known);
    };
  });
}

find("key").addEventListener("click", () => ask(false));
find("dismiss").addEventListener("click", () => find("ask").close());
find("ask").addEventListener("close", () => {
  answered?.(Boolean(token()));
  answered = null;
});
find("ask").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const before = token();
  keepToken(find("given").value.trim());
  const known = await greet();
  if (known === "refused") {
    keepToken(before);
    find("wrong").textContent = texts.tokenWrong;
    find("wrong").hidden = false;
    find("given").select();
    return;
  }
  find("ask").close();
  queue.retry();
});

/**
 * Says what the server is and whether it is ready, again every few seconds until it is. Answers "known", "refused"
 * where it does not know the token, or "away" where nobody answers.
 */
async function greet() {
  clearTimeout(again);
  try {
    const name = token() ? await model() : "";
    const { status } = await health();
    find("server").textContent = [name, texts.serverIs[status]].filter(Boolean).join(" · ");
    if (status !== "healthy") again = setTimeout(greet, 3000);
    return token() ? "known" : "refused";
  } catch (error) {
    if (error.status === 401 || error.status === 403) return "refused";
    find("server").textContent = texts.unreachable;
    again = setTimeout(greet, 5000);
    return "away";
  }
}

prepare();
// Browsers give the clipboard only to pages that came safely.
find("copy").hidden = !navigator.clipboard;
document.addEventListener("gputx:language", () => chosen && showHeading(chosen, unplayable));
if ((await greet()) === "refused") ask(Boolean(token()));
queue.resume();
