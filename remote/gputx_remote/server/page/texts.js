// Every word of the page, in Swedish and in English. A text with figures in it is a function.

const swedish = {
  skip: "Till texten",
  token: "Nyckel",
  tokenTitle: "Serverns nyckel",
  tokenWhy: "Den skrevs ut när servern startade; gputx api token visar den igen. Den sparas bara så länge fliken är öppen.",
  tokenWrong: "Servern känner inte igen nyckeln.",
  enter: "Fortsätt",
  dismiss: "Inte nu",
  other: "English",
  otherTag: "en",
  themes: { auto: "Ljus som systemet", light: "Ljust", dark: "Mörkt" },
  themeLabel: (name) => `Utseende: ${name}. Byt.`,
  intake: "Inspelningar",
  drop: "Släpp en inspelning här",
  choose: "Välj filer",
  record: "Spela in",
  stop: "Sluta",
  level: "Ljudnivå",
  formats: "Ljud eller video av alla slag, gärna flera på en gång",
  promise: "Servern stryker ljudet när texten är klar, och glömmer texten efter en stund. Rättelser lämnar aldrig webbläsaren.",
  options: "Inställningar",
  spoken: "Språk som talas",
  detect: "Hör efter",
  prompt: "Namn och stavningar att vänta sig",
  translate: "Översätt till engelska",
  queue: "Kö",
  downloads: "Ladda ner",
  download: "Ladda ner",
  copy: "Kopiera",
  copied: "Kopierat",
  segments: "Text med tider",
  nobody: "Ingen talar i den.",
  hints: "Klicka i texten för att lyssna därifrån, dubbelklicka på ett ord för att rätta det. Tangenter: ↑ ↓ flyttar, Retur lyssnar, E rättar, mellanslag spelar och pausar.",
  legend: "Understruket är ord som modellen var osäker på.",
  check: "lyssna",
  checkWhy: "Modellen litar inte på den här texten: lyssna på den.",
  player: "Uppspelning",
  play: "Spela",
  pause: "Pausa",
  seek: "Läge i inspelningen",
  speed: "Hastighet",
  listen: (time) => `${time}, lyssna härifrån`,
  correct: (time) => `Rätta texten vid ${time}`,
  correcting: (time) => `Texten vid ${time}. Retur sparar, Escape ångrar, Skift+Retur lyssnar igen`,
  restore: "Återställ modellens text",
  removed: "(borttagen)",
  sure: (percent) => `${percent} % säker`,
  remove: (name) => `Ta bort ${name}`,
  cancel: (name) => `Avbryt ${name}`,
  recordingName: (time) => `Inspelning ${time}`,
  waiting: "Väntar",
  uploading: (percent) => `Skickar ${percent} %`,
  busy: (seconds) => `Servern har fullt upp, nytt försök om ${seconds} s`,
  queued: "I kö på servern",
  running: (percent) => `Skriver ${percent} %`,
  listening: "Lyssnar",
  finishing: "Skriver det sista",
  done: "Klar",
  failed: "Misslyckades",
  cancelled: "Avbruten",
  long: (time) => `${time} lång`,
  took: (time) => `klar på ${time}`,
  count: (n) => (n === 1 ? "1 stycke" : `${n} stycken`),
  toCheck: (n) => `${n} att lyssna på`,
  edits: (n) => (n === 1 ? "1 rättelse" : `${n} rättelser`),
  noSound: "Ljudet finns bara i din webbläsare. Släpp filen här igen för att lyssna.",
  unplayable: "Webbläsaren kan inte spela formatet. Texten påverkas inte.",
  announced: (name, state) => `${name}: ${state}`,
  seconds: (n) => `${n} sekunder`,
  minutes: (m, s) => `${m} min ${s} s`,
  hours: (h, m, s) => `${h} tim ${m} min ${s} s`,
  unreachable: "Servern svarar inte",
  serverIs: { healthy: "", loading: "läser in modellen", draining: "är på väg att sluta" },
  lost: "Förbindelsen med servern bröts",
  empty: (name) => `${name} är tom`,
  denied: "Mikrofonen får inte användas: tillåt den i webbläsarens inställningar för sidan.",
  noMicrophone: "Här finns ingen mikrofon.",
  insecure: "Webbläsaren släpper fram mikrofonen bara över https eller på den egna datorn (gputx api tunnel).",
};

const english = {
  skip: "To the text",
  token: "Token",
  tokenTitle: "The server's token",
  tokenWhy: "It was printed when the server started; gputx api token shows it again. It is kept only while this tab is open.",
  tokenWrong: "The server does not know this token.",
  enter: "Continue",
  dismiss: "Not now",
  other: "Svenska",
  otherTag: "sv",
  themes: { auto: "As the system", light: "Light", dark: "Dark" },
  themeLabel: (name) => `Appearance: ${name}. Change.`,
  intake: "Recordings",
  drop: "Drop a recording here",
  choose: "Choose files",
  record: "Record",
  stop: "Stop",
  level: "Sound level",
  formats: "Sound or video of any kind, several at a time",
  promise: "The server deletes the sound when the text is done, and forgets the text after a while. Corrections never leave the browser.",
  options: "Options",
  spoken: "Spoken language",
  detect: "Detect",
  prompt: "Names and spellings to expect",
  translate: "Translate into English",
  queue: "Queue",
  downloads: "Download",
  download: "Download",
  copy: "Copy",
  copied: "Copied",
  segments: "Text with times",
  nobody: "Nobody speaks in it.",
  hints: "Click in the text to listen from there, double-click a word to correct it. Keys: ↑ ↓ move, Enter listens, E corrects, space plays and pauses.",
  legend: "Underlined are words that the model was unsure of.",
  check: "listen",
  checkWhy: "The model does not trust this text: listen to it.",
  player: "Playback",
  play: "Play",
  pause: "Pause",
  seek: "Position in the recording",
  speed: "Speed",
  listen: (time) => `${time}, listen from here`,
  correct: (time) => `Correct the text at ${time}`,
  correcting: (time) => `The text at ${time}. Enter saves, Escape takes back, Shift+Enter listens again`,
  restore: "Restore the model's text",
  removed: "(removed)",
  sure: (percent) => `${percent}% sure`,
  remove: (name) => `Remove ${name}`,
  cancel: (name) => `Cancel ${name}`,
  recordingName: (time) => `Recording ${time}`,
  waiting: "Waiting",
  uploading: (percent) => `Sending ${percent}%`,
  busy: (seconds) => `The server is busy, trying again in ${seconds} s`,
  queued: "In the server's queue",
  running: (percent) => `Writing ${percent}%`,
  listening: "Listening",
  finishing: "Writing the rest",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  long: (time) => `${time} long`,
  took: (time) => `done in ${time}`,
  count: (n) => (n === 1 ? "1 segment" : `${n} segments`),
  toCheck: (n) => `${n} to listen to`,
  edits: (n) => (n === 1 ? "1 correction" : `${n} corrections`),
  noSound: "The sound is only in your browser. Drop the file here again to listen.",
  unplayable: "This browser can't play the format. The text is not affected.",
  announced: (name, state) => `${name}: ${state}`,
  seconds: (n) => `${n} seconds`,
  minutes: (m, s) => `${m} min ${s} s`,
  hours: (h, m, s) => `${h} h ${m} min ${s} s`,
  unreachable: "The server does not answer",
  serverIs: { healthy: "", loading: "loading the model", draining: "about to end" },
  lost: "The connection to the server was lost",
  empty: (name) => `${name} is empty`,
  denied: "The microphone may not be used: allow it in the browser's settings for this page.",
  noMicrophone: "There is no microphone here.",
  insecure: "Browsers give the microphone only over https or on this machine (gputx api tunnel).",
};

export const TEXTS = { sv: swedish, en: english };

/** The texts in use. `use` changes them; whoever shows any listens for the document's `gputx:language`. */
export const texts = { ...english, tag: "en" };

export function use(tag) {
  Object.assign(texts, TEXTS[tag], { tag });
  document.documentElement.lang = tag;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = texts[element.dataset.t];
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", texts[element.dataset.label]);
  document.dispatchEvent(new Event("gputx:language"));
}

/** 0:07, 12:34, 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** As it is spoken: for labels. */
export function spokenTime(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return texts.seconds(whole);
  if (whole < 3600) return texts.minutes(Math.floor(whole / 60), whole % 60);
  return texts.hours(Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60);
}

/** How long something took: 0.8 s, 12 s, 3 min 20 s. */
export function took(seconds) {
  const comma = (number) => (texts.tag === "sv" ? String(number).replace(".", ",") : String(number));
  return seconds < 59.95 ? `${comma(seconds < 10 ? seconds.toFixed(1) : Math.round(seconds))} s` : spokenTime(seconds);
}
