// What is asked for with a recording, and how the page looks.

import { languages } from "./languages.js";
import { keepLanguage, keepTheme, language, theme } from "./session.js";
import { texts, use } from "./texts.js";

const find = (id) => document.getElementById(id);
const THEMES = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "○", dark: "●" };

/** {language: a code or "" to detect it, prompt, translate}. */
export function options() {
  return { language: find("spoken").value, prompt: find("prompt").value.trim(), translate: find("translate").checked };
}

/** Puts the page into the language and the colours that were chosen, and has its two buttons change them. */
export function prepare() {
  find("language").addEventListener("click", () => {
    const other = texts.otherTag;
    keepLanguage(other);
    use(other);
  });
  find("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    keepTheme(next);
    colour();
  });
  document.addEventListener("gputx:language", () => {
    find("language").textContent = texts.other;
    find("language").lang = texts.otherTag;
    fillLanguages();
    colour();
  });
  use(language());
}

function fillLanguages() {
  const chosen = find("spoken").value || (find("spoken").options.length ? "" : "sv");
  const named = [["", texts.detect], ...languages(texts.tag)];
  find("spoken").replaceChildren(...named.map(([code, name]) => new Option(name, code, code === chosen, code === chosen)));
}

function colour() {
  const chosen = theme();
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  find("theme").textContent = SIGNS[chosen];
  find("theme").setAttribute("aria-label", texts.themeLabel(texts.themes[chosen]));
  find("theme").title = texts.themes[chosen];
}
