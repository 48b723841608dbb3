// Whisper's languages, by the codes that the server takes. Their names come from the browser, in the page's language.

const CODES = `
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk
te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo
ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
`.trim().split(/\s+/);

const FIRST = ["sv", "en", "no", "da", "fi"];

/** [code, name] in the language `tag`: the neighbours first, then the alphabet. */
export function languages(tag) {
  const names = new Intl.DisplayNames([tag], { type: "language" });
  // Whisper's code for Javanese was never ISO 639's.
  const named = CODES.map((code) => [code, capital(names.of(code === "jw" ? "jv" : code), tag)]);
  const rank = ([code]) => (FIRST.includes(code) ? FIRST.indexOf(code) : FIRST.length);
  return named.sort((a, b) => rank(a) - rank(b) || a[1].localeCompare(b[1], tag));
}

/** The name of one language, in the language `tag`; the code itself where it has none. */
export function languageName(code, tag) {
  try {
    return capital(new Intl.DisplayNames([tag], { type: "language" }).of(code === "jw" ? "jv" : code), tag);
  } catch {
    return code;
  }
}

function capital(name, tag) {
  return name.charAt(0).toLocaleUpperCase(tag) + name.slice(1);
}
