// A transcript as the text of one file, in the browser, so that corrections are in it. The same rules as the writers of
// gputx_remote/writers, which the tests hold these against: times in order, a cue lasts a millisecond at least.
//
// A transcript here: {language, durationMs, segments: [{startMs, endMs, text, words, confidence, suspect, corrected,
// measure}]}; words: [{startMs, endMs, text, probability}].

const NONCHARACTERS = Array.from({ length: 17 }, (_, plane) => `\\u{${(plane * 0x10000 + 0xfffe).toString(16)}}-\\u{${(plane * 0x10000 + 0xffff).toString(16)}}`).join("");
const FORBIDDEN = new RegExp(`[\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\\ud800-\\udfff\\ufeff\\ufdd0-\\ufdef${NONCHARACTERS}]`, "gu");
// Python's white space has these beside JavaScript's.
const SPACES = /[\s\x1c-\x1f\x85]+/u;

/** The text with single spaces for white space of every kind, without characters that some format refuses. */
export function oneLine(text) {
  return text.replace(FORBIDDEN, "").split(SPACES).filter(Boolean).join(" ");
}

/** Times between 0 and the end and never backwards; segments without text left out. */
export function tidied(transcript) {
  const durationMs = Math.max(transcript.durationMs, 0);
  let floor = 0;
  const segments = [];
  for (const segment of transcript.segments) {
    const text = oneLine(segment.text);
    if (!text) continue;
    const [startMs, endMs] = between(segment, floor, durationMs);
    segments.push({ ...segment, startMs, endMs, text, words: tidiedWords(segment.words, startMs, endMs) });
    floor = endMs;
  }
  return { ...transcript, segments, durationMs };
}

function tidiedWords(words, startMs, endMs) {
  let floor = startMs;
  const kept = [];
  for (const word of words) {
    const text = oneLine(word.text);
    if (!text) continue;
    const [begins, ends] = between(word, floor, endMs);
    kept.push({ ...word, startMs: begins, endMs: ends, text });
    floor = ends;
  }
  return kept;
}

function between(timed, floor, ceiling) {
  const start = Math.min(Math.max(timed.startMs, floor), ceiling);
  return [start, Math.min(Math.max(timed.endMs, start), ceiling)];
}

/** Each word with the space before it; empty where the words are not the text. */
export function spacedWords(segment) {
  const found = [];
  let at = 0;
  for (const word of segment.words) {
    const space = segment.text.startsWith(" ", at) ? " " : "";
    at += space.length;
    if (!segment.text.startsWith(word.text, at)) return [];
    found.push({ space, word, at });
    at += word.text.length;
  }
  return at === segment.text.length ? found : [];
}

/** Cues that do not overlap, each a millisecond long at least, none past the end. */
function cuesOf(transcript) {
  const cues = [];
  let floor = 0;
  for (const segment of transcript.segments) {
    // As in the writers of the server: with word times a cue lasts from its first word to its last.
    const heard = spacedWords(segment);
    const start = Math.max(heard.length ? heard[0].word.startMs : segment.startMs, floor);
    floor = Math.max(heard.length ? heard.at(-1).word.endMs : segment.endMs, start + 1);
    cues.push({ startMs: start, endMs: floor, text: segment.text });
  }
  let ceiling = Math.max(transcript.durationMs, cues.length);
  for (let index = cues.length - 1; index >= 0 && cues[index].endMs > ceiling; index -= 1) {
    cues[index].startMs = Math.min(cues[index].startMs, ceiling - 1);
    cues[index].endMs = ceiling;
    ceiling = cues[index].startMs;
  }
  return cues;
}

function clock(ms, decimal, hoursAlways) {
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(ms / 3_600_000);
  const prefix = hoursAlways || hours ? `${two(hours)}:` : "";
  const seconds = Math.floor(ms / 1000) % 60;
  return `${prefix}${two(Math.floor(ms / 60_000) % 60)}:${two(seconds)}${decimal}${String(ms % 1000).padStart(3, "0")}`;
}

function txt(transcript) {
  return transcript.segments.map((segment) => `${segment.text}\n`).join("");
}

function srt(transcript) {
  return cuesOf(transcript)
    .map((cue, index) => `${index + 1}\n${clock(cue.startMs, ",", true)} --> ${clock(cue.endMs, ",", true)}\n${cue.text.replace(/-{2,}>/g, "->")}\n\n`)
    .join("");
}

function vtt(transcript) {
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return "WEBVTT\n\n" + cuesOf(transcript)
    .map((cue) => `${clock(cue.startMs, ".", false)} --> ${clock(cue.endMs, ".", false)}\n${escaped(cue.text)}\n\n`)
    .join("");
}

/** Whisper's document, a segment a line. A corrected segment says so, and has no tokens: they were of another text. */
function json(transcript) {
  const rows = transcript.segments.map((segment, id) => `\n    ${JSON.stringify(jsonSegment(id, segment))}`);
  const text = transcript.segments.map((segment) => segment.text).join(" ");
  return `{\n  "text": ${JSON.stringify(text)},\n  "segments": ${rows.length ? `[${rows.join(",")}\n  ]` : "[]"},\n` +
    `  "language": ${JSON.stringify(transcript.language)},\n  "duration": ${transcript.durationMs / 1000}\n}\n`;
}

function jsonSegment(id, segment) {
  const fields = {
    id,
    start: segment.startMs / 1000,
    end: segment.endMs / 1000,
    text: segment.text,
    ...segment.measure,
    confidence: segment.confidence ?? null,
    suspect: segment.suspect,
  };
  if (segment.corrected) Object.assign(fields, { tokens: [], corrected: true });
  if (segment.words.length) {
    const spaced = spacedWords(segment);
    fields.words = segment.words.map((word, index) => ({
      word: (index === 0 ? " " : (spaced[index]?.space ?? " ")) + word.text,
      start: word.startMs / 1000,
      end: word.endMs / 1000,
      probability: word.probability,
    }));
  }
  return fields;
}

export const WRITERS = {
  txt: { write: txt, type: "text/plain" },
  srt: { write: srt, type: "application/x-subrip" },
  vtt: { write: vtt, type: "text/vtt" },
  json: { write: json, type: "application/json" },
};

/** The text of one file. `format` is a key of WRITERS. */
export function written(transcript, format) {
  return WRITERS[format].write(tidied(transcript));
}
