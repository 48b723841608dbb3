"""The frame of the html format: its style, and the places that are filled."""

from __future__ import annotations

from string import Template

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root {
  --paper: #fdfcfa; --ink: #1d1c1a; --soft: #6a665f; --line: #e4e0d8;
  --unsure: #8a5300; --doubtful: #b3261e; --check: #fbe9e7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #191817; --ink: #e9e6e1; --soft: #a09a90; --line: #35322e;
    --unsure: #f0b45c; --doubtful: #ff8a80; --check: #3a1f1d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 46rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 Georgia, "Iowan Old Style", "Noto Serif", serif;
}
header, li a, .check { font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
header { border-bottom: 1px solid var(--line); margin-bottom: 1.75rem; padding-bottom: 1.25rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
header p { margin: .25rem 0 0; color: var(--soft); font-size: .9rem; }
.legend { margin-top: .75rem; }
ol { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: 3.5rem 1fr; padding: .3rem .6rem; margin: 0 -.6rem; border-radius: .4rem; }
.long li { grid-template-columns: 4.75rem 1fr; }
li:target { outline: 2px solid var(--soft); }
li p { margin: 0; overflow-wrap: anywhere; }
li a { color: var(--soft); font-size: .8rem; line-height: 1.7rem; text-decoration: none;
  font-variant-numeric: tabular-nums; }
li a:hover, li a:focus { text-decoration: underline; }
.suspect { background: var(--check); }
.check { color: var(--doubtful); border: 1px solid; border-radius: .3rem; padding: 0 .35rem;
  font-size: .75rem; font-weight: 600; }
.unsure, .doubtful { text-decoration-line: underline; text-underline-offset: .2em; }
.unsure { color: var(--unsure); text-decoration-style: dotted; text-decoration-thickness: .12em; }
.doubtful { color: var(--doubtful); text-decoration-style: wavy; text-decoration-thickness: .07em; }
@media print { body { padding: 0; max-width: none; } li { break-inside: avoid; } }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p>$facts</p>
$legend
</header>
<main lang="$language">
$body
</main>
</body>
</html>
""")
"""Takes title, facts, legend, language and body, all of them HTML already."""
