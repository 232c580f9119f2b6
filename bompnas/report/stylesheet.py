"""The page's style sheet: one column, light and dark, wide screens and phones."""

STYLESHEET = """
:root {
  color-scheme: light dark;
  --ink: #1b2230; --muted: #667085; --grid: #e4e7ec; --paper: #ffffff; --rim: #ffffff; --accent: #c9301c;
  --ground: #f4f5f7; --link: #175cd3; --good: #067647; --badge: #ecfdf3;
  --series-1: #0b6bb5; --series-2: #d1570a; --series-3: #0a8a5f; --series-4: #b8428c;
  --series-5: #8a74e6; --series-6: #8a5a1e; --series-7: #1389a6; --series-8: #343a46;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8eaef; --muted: #9aa3b2; --grid: #333a47; --paper: #1a1f29; --rim: #a3acbb; --accent: #ff7b66;
    --ground: #11141b; --link: #84b4ff; --good: #6ce0a6; --badge: #12372a;
    --series-1: #4fa6f2; --series-2: #ff9a4d; --series-3: #3ccf9a; --series-4: #f08cc8;
    --series-5: #c4b5ff; --series-6: #d9b26a; --series-7: #5fd6ea; --series-8: #f1f3f7;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
header { margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .25rem; letter-spacing: -.005em; }
h3 { font-size: 1rem; margin: 1.2rem 0 .25rem; }
p { margin: 0 0 .75rem; }
a { color: var(--link); }
code { font: .92em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.subtitle, .note, figcaption { color: var(--muted); }
.note, figcaption { font-size: .88rem; }
.badge {
  display: inline-block; margin-left: .6rem; padding: .1rem .6rem; border-radius: 999px; vertical-align: .28em;
  font-size: .78rem; font-weight: 600; letter-spacing: 0; color: var(--good); background: var(--badge);
}
.badge.running { color: var(--muted); background: var(--grid); }
section, .cards > div {
  background: var(--paper); border: 1px solid var(--grid); border-radius: 12px;
}
section { padding: 1.25rem 1.4rem; margin-bottom: 1.1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(138px, 1fr)); gap: .75rem; margin: 0 0 1.1rem; }
.cards > div { padding: .75rem .9rem; display: flex; flex-direction: column; justify-content: space-between; }
.cards dt { color: var(--muted); font-size: .82rem; }
.cards dd {
  margin: 0; font-size: 1.25rem; font-weight: 650; line-height: 1.3; letter-spacing: -.01em; white-space: nowrap;
}
.cards small {
  display: block; color: var(--muted); font-size: .8rem; font-weight: 400; letter-spacing: 0; white-space: normal;
}
figure { margin: .75rem 0 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { margin-top: .6rem; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif !important; }
svg a { cursor: pointer; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.scroll svg { min-width: 460px; }
.scroll svg.policies { min-width: 640px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
thead th {
  color: var(--muted); font-weight: 500; font-size: .8rem; line-height: 1.3; white-space: normal;
  vertical-align: bottom;
}
tbody tr:last-child td, tbody tr:last-child th { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text, th.text { text-align: left; white-space: normal; min-width: 12rem; overflow-wrap: anywhere; }
tr:target td { background: color-mix(in srgb, var(--accent) 14%, transparent); }
td.best { font-weight: 650; }
th.label, td.label { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
.scroll svg.mark { min-width: 0; width: .8em; height: .8em; vertical-align: -.06em; }
td.label .mark, th .mark { margin-right: .45em; }
tr.mean td { font-weight: 600; }
tr.mean small { display: block; color: var(--muted); font-size: .8rem; font-weight: 400; }
tr.member td.label { padding-left: 1.2rem; }
table.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.settings th { text-align: left; }
ul.notes { margin: .5rem 0 0; padding-left: 1.2rem; }
td .before { color: var(--muted); font-weight: 400; }
tr.dominated td { color: var(--muted); }
.facts {
  display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.4rem; margin: .5rem 0 0; font-size: .92rem;
}
.facts + .note { margin: .9rem 0 0; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
details summary { cursor: pointer; font-weight: 600; }
details[open] summary { margin-bottom: .75rem; }
pre { overflow-x: auto; margin: 0; font-size: .85rem; line-height: 1.5; }
footer { color: var(--muted); font-size: .85rem; }
@media (max-width: 600px) {
  main { padding: 1.1rem .7rem 2rem; }
  section { padding: 1rem .9rem; }
  .cards { grid-template-columns: 1fr 1fr; gap: .6rem; }
  .cards dd { font-size: 1.2rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .5rem; }
}
@media print {
  :root { --ground: #ffffff; }
  section { break-inside: avoid; }
}
"""
