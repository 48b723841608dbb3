// The text of a segment as elements: what the model was unsure of in marks of its own.

import { texts } from "./texts.js";
import { spacedWords } from "./writers.js";

export const UNSURE = 0.8;
const DOUBTFUL = 0.5;
// Below these a word is underlined with dots, with a wave, as in the html format of gputx run.

/** Characters `from` to `to` of an element's text as a range. */
export function stretch(element, from, to) {
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let at = 0;
  let begun = false;
  for (let node; (node = walker.nextNode()); at += node.length) {
    if (!begun && from < at + node.length) {
      range.setStart(node, from - at);
      begun = true;
    }
    if (begun && to <= at + node.length) {
      range.setEnd(node, to - at);
      return range;
    }
  }
  return null;
}

/** A segment's text, what the model was unsure of in marks of its own. */
export function marked(segment) {
  if (!segment.text) return [mark("removed", texts.removed, texts.restore)];
  const words = spacedWords(segment);
  if (!words.length) return [piece(segment.text, segment.confidence)];
  return words.flatMap(({ space, word }) => [space, piece(word.text, word.probability)]);
}

function piece(text, probability) {
  if (probability === null || probability >= UNSURE) return document.createTextNode(text);
  // Rounded down: a word that is marked for being below 80 % does not say 80 %.
  return mark(probability < DOUBTFUL ? "doubtful" : "unsure", text, texts.sure(Math.floor(Math.max(probability, 0) * 100)));
}

function mark(name, text, title) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  element.title = title;
  return element;
}
