// Everything this page knows of the server's routes. Addresses are relative to the page: it works below a prefix, too.

import { token } from "./session.js";
import { texts } from "./texts.js";

/** What the server, or the way to it, answered instead of a result. `status` is 0 where nothing came back. */
export class Refused extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const authorization = () => ({ Authorization: `Bearer ${token()}` });

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...authorization(), ...options.headers }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", texts.unreachable);
  }
  if (!answer.ok) throw refusal(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  return answer;
}

function refusal(status, body, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(body).error ?? {};
  } catch {
    // A proxy's page of HTML: its status says enough.
  }
  const seconds = Number.parseFloat(retryAfter ?? "");
  return new Refused(status, error.code ?? "", error.message ?? `HTTP ${status}`, Number.isFinite(seconds) ? seconds : null);
}

/** {status: "healthy", "loading" or "draining", …}; needs no token. Not an error where it is 503: that says so, too. */
export async function health() {
  try {
    return await (await fetch("health", { cache: "no-store" })).json();
  } catch {
    throw new Refused(0, "unreachable", texts.unreachable);
  }
}

/** The name of the model, which only a known token is told. */
export async function model() {
  return (await (await request("v1/models")).json()).data[0]?.id ?? "";
}

/**
 * Sends a file; `sent` is told which part of it has gone, 0 to 1. XMLHttpRequest, because fetch does not say.
 * Answers the job as the server has it.
 */
export function submit(file, name, { language, prompt, translate }, sent, signal) {
  const form = new FormData();
  // What is asked for goes before the file, so that what can't be is refused before it is sent.
  form.append("language", language || "auto");
  form.append("task", translate ? "translate" : "transcribe");
  form.append("word_timestamps", "true");
  if (prompt) form.append("prompt", prompt);
  form.append("audio", file, name);
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", "transcribe?async=1");
    call.setRequestHeader("Authorization", `Bearer ${token()}`);
    call.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    call.onload = () => {
      if (call.status === 202) resolve(JSON.parse(call.responseText));
      else reject(refusal(call.status, call.responseText, call.getResponseHeader("Retry-After")));
    };
    call.onerror = () => reject(new Refused(0, "lost", texts.lost));
    call.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => call.abort(), { once: true });
    if (signal.aborted) call.abort();
    else call.send(form);
  });
}

export async function job(id) {
  return (await request(`jobs/${encodeURIComponent(id)}`)).json();
}

export async function cancel(id) {
  await request(`jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/**
 * What happens to a job, from event number `after` on, until it ends or the line breaks: {id, event, data}. Read with
 * fetch and not with EventSource, which can send no header, and the token is in no address.
 */
export async function* events(id, after, signal) {
  const headers = after ? { "Last-Event-ID": after } : {};
  const answer = await request(`jobs/${encodeURIComponent(id)}/events`, { headers, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let chunk;
    try {
      chunk = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "lost", texts.lost);
    }
    if (chunk.done) return;
    const blocks = (rest + chunk.value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parsed(block);
      if (event) yield event;
    }
  }
}

/** One block of https://html.spec.whatwg.org/#event-stream-interpretation; null for a comment. */
function parsed(block) {
  const fields = { event: "message", data: [], id: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") fields.data.push(value);
    else if (name === "event" || name === "id") fields[name] = value;
  }
  return fields.data.length ? { ...fields, data: JSON.parse(fields.data.join("\n")) } : null;
}

/** A WebSocket for live audio. The token goes as a subprotocol: in the address it would be in logs. */
export function live({ language, prompt, translate }) {
  const address = new URL("live", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  const bytes = new TextEncoder().encode(token());
  const packed = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const socket = new WebSocket(address, ["gputx.live", `gputx.token.${packed}`]);
  socket.binaryType = "arraybuffer";
  const wishes = { language: language || "auto", task: translate ? "translate" : "transcribe", word_timestamps: true };
  if (prompt) wishes.prompt = prompt;
  socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "start", ...wishes })), { once: true });
  return socket;
}

/** A segment as the server tells it, as the rest of the page has it: times in whole milliseconds. */
export function segment(told) {
  const ms = (seconds) => Math.round(seconds * 1000);
  const measure = {};
  for (const name of ["tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"]) {
    if (name in told) measure[name] = told[name];
  }
  return {
    startMs: ms(told.start),
    endMs: ms(told.end),
    text: told.text,
    words: (told.words ?? []).map((word) => ({
      startMs: ms(word.start),
      endMs: ms(word.end),
      text: (word.word ?? word.text).trim(),
      probability: word.probability ?? null,
    })),
    confidence: told.confidence ?? null,
    suspect: Boolean(told.suspect),
    corrected: false,
    measure,
  };
}
