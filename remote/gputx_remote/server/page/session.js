// What outlives a reload. The token, and what this tab is working on, only as long as the tab; how the page looks, longer.

const TOKEN = "gputx.token";
const WORK = "gputx.work";

export function token() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function keepToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

/** The jobs of this tab: [{id, name, corrections: {number: text}}]. What can't be read counts as none. */
export function work() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(WORK) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

/** Keeps them. Where the browser has no room, a reload forgets them, and nothing else is lost. */
export function keepWork(jobs) {
  try {
    sessionStorage.setItem(WORK, JSON.stringify(jobs));
  } catch (error) {
    console.warn("the browser keeps no more for this tab", error);
  }
}

/** "auto", "light" or "dark". */
export function theme() {
  const kept = localStorage.getItem("gputx.theme");
  return ["light", "dark"].includes(kept) ? kept : "auto";
}

export function keepTheme(value) {
  localStorage.setItem("gputx.theme", value);
}

/** "sv" or "en": as chosen, else as the browser prefers. */
export function language() {
  const kept = localStorage.getItem("gputx.language");
  if (["sv", "en"].includes(kept)) return kept;
  const swedishFirst = navigator.languages.find((tag) => /^(sv|en)\b/i.test(tag));
  return swedishFirst?.toLowerCase().startsWith("sv") ? "sv" : "en";
}

export function keepLanguage(value) {
  localStorage.setItem("gputx.language", value);
}
