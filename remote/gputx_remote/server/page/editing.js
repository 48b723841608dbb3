// What a correction does to a segment: its text is the person's, its words keep the times of those that stayed.

import { oneLine } from "./writers.js";

/** The segment with another text. Its original is kept, so that the correction can be taken back. */
export function corrected(segment, text) {
  const original = segment.original ?? segment;
  const line = oneLine(text);
  if (line === original.text) return original;
  return { ...original, text: line, words: retimed(original, line), confidence: null, suspect: false, corrected: true, original };
}

/**
 * Words for a new text: those that were there keep their times and how sure the model was; those in their place share
 * the time of what they replace. A person wrote them, so their probability is 1.
 */
function retimed(original, line) {
  if (!original.words.length || !line) return [];
  const before = original.words;
  const after = line.split(" ");
  const words = [];
  let old = 0;
  let fresh = 0;
  for (const [keptOld, keptNew] of [...common(before.map((word) => word.text), after), [before.length, after.length]]) {
    words.push(...shared(after.slice(fresh, keptNew), before.slice(old, keptOld), words.at(-1)?.endMs ?? original.startMs));
    if (keptOld < before.length) words.push(before[keptOld]);
    old = keptOld + 1;
    fresh = keptNew + 1;
  }
  return words;
}

/** `written` in the time of the words they replace, by number of characters; in no time where they replace none. */
function shared(written, replaced, at) {
  const startMs = replaced[0]?.startMs ?? at;
  const endMs = replaced.at(-1)?.endMs ?? startMs;
  if (written.length === replaced.length) {
    return written.map((text, index) => ({ ...replaced[index], text, probability: 1 }));
  }
  const characters = written.join("").length;
  let taken = 0;
  return written.map((text) => {
    const from = startMs + Math.floor((taken * (endMs - startMs)) / characters);
    taken += text.length;
    return { startMs: from, endMs: startMs + Math.floor((taken * (endMs - startMs)) / characters), text, probability: 1 };
  });
}

/** The longest common subsequence as pairs of indices, in order. A segment has some dozens of words. */
function common(before, after) {
  const lengths = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = before[i] === after[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < before.length && j < after.length;) {
    if (before[i] === after[j]) pairs.push([i++, j++]);
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
    else j += 1;
  }
  return pairs;
}
