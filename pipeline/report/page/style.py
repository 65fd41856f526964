"""How the page looks: light and dark as the reader's system is, on a narrow screen, and on paper."""

from __future__ import annotations

import re

_SHEET = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --text: #1b2430; --soft: #566173; --edge: #dde2e9; --head: #eef1f5;
  --blue: #2459c4; --teal: #0a7466; --good: #17653a; --good-ground: #e2f4e9; --care: #7a4b00;
  --care-ground: #fdf0d7; --bad: #a11d2c; --bad-ground: #fde8ea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #11161d; --card: #1a212b; --text: #e6eaf0; --soft: #a5b1c2; --edge: #313c4a; --head: #222b37;
    --blue: #86aefc; --teal: #5cc9b8; --good: #82d6a3; --good-ground: #173324; --care: #f0c069;
    --care-ground: #3a2d12; --bad: #ff9aa4; --bad-ground: #43191f;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; -webkit-text-size-adjust: 100%;
}
a { color: var(--blue); }
:focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; border-radius: 3px; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 0 0 .25rem; font-size: 1.3rem; line-height: 1.3; }
h3 { margin: 0; font-size: 1.05rem; }
p { margin: .25rem 0; }
code { font: .9em ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
header p, .lead, .about, .more, .hint, footer { color: var(--soft); }
.root { font-size: .9rem; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; padding: .5rem; background: var(--card); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0; padding: 0; list-style: none; }
nav a { display: inline-block; padding: .15rem 0; }
section {
  margin: 1rem 0; padding: 1.1rem 1.2rem 1.2rem; background: var(--card); border: 1px solid var(--edge);
  border-radius: .75rem; scroll-margin-top: .5rem;
}
.lead { margin-bottom: .75rem; max-width: 50rem; }
.about, .hint, .reason { display: block; font-size: .88rem; font-weight: 400; }
.reason { color: var(--bad); }
.state { border-left-width: .4rem; }
.state.good { border-left-color: var(--good); }
.state.care { border-left-color: var(--care); }
.state ul { margin: .25rem 0; padding-left: 1.2rem; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(13rem, 100%), 1fr)); gap: .75rem;
  margin: .75rem 0 0;
}
.tile { padding: .7rem .8rem; background: var(--head); border-radius: .5rem; }
.tile dt { font-size: .88rem; color: var(--soft); }
.tile dd { margin: 0; }
.tile .value { font-size: 1.35rem; font-weight: 650; line-height: 1.4; }
.tile .more { font-size: .85rem; }
.badge { display: inline-block; padding: 0 .5rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; }
.badge.good { color: var(--good); background: var(--good-ground); }
.badge.care { color: var(--care); background: var(--care-ground); }
.badge.bad { color: var(--bad); background: var(--bad-ground); }
.badge.plain { color: var(--soft); background: var(--head); }
.value .badge { font-size: 1.1rem; }
.scroll { overflow-x: auto; margin-top: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; overflow-wrap: break-word; }
td code, .reason, .about { overflow-wrap: anywhere; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--edge); }
thead th { background: var(--head); font-size: .82rem; color: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 600; min-width: 7.5rem; }
.feeds tbody th { min-width: 10rem; }
.snapshots td:last-child { min-width: 14rem; }
.n, td:has(> data) { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
time, .axis, .most { font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(29rem, 100%), 1fr)); gap: 0 2rem; }
.feed { min-width: 0; padding: .9rem 0 .6rem; border-top: 1px solid var(--edge); break-inside: avoid; }
h3 { scroll-margin-top: .5rem; }
.charts { margin: .5rem 0; }
.chart { margin: 0; }
figcaption, .axis { display: flex; justify-content: space-between; font-size: .82rem; color: var(--soft); }
.bars, .spark, .share { display: block; width: 100%; }
.bars { height: 5.5rem; border-bottom: 1px solid var(--edge); border-top: 1px dashed var(--edge); }
.bars.size { height: 2.75rem; }
.bars.rows { fill: var(--blue); }
.bars.size { fill: var(--teal); }
.spark { height: 1.6rem; min-width: 5.5rem; }
.spark .area { fill: var(--blue); opacity: .18; }
.spark .line { fill: none; stroke: var(--blue); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.share { height: .4rem; margin-top: .3rem; min-width: 5rem; border-radius: .2rem; }
.share .whole { fill: var(--edge); }
.share .part { fill: var(--blue); }
summary { cursor: pointer; color: var(--blue); font-size: .92rem; padding: .2rem 0; width: fit-content; }
.changes { display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; margin: 0 0 .5rem; padding: 0; list-style: none; }
.since { font-size: .92rem; }
.er { display: block; height: auto; margin: .5rem auto 1rem; font-size: 12px; }
.er.wide { width: 100%; }
.er.narrow { display: none; width: 100%; max-width: 26rem; }
.er text { fill: var(--text); }
.er .name { font-weight: 700; }
.er .mark { fill: var(--soft); text-anchor: end; font-size: 10px; }
.er .box { fill: var(--card); stroke: var(--edge); }
.er .head { fill: var(--head); }
.er .dimension .head { fill: var(--good-ground); }
.er .dimension .box { stroke: var(--teal); }
.er .join { fill: none; stroke: var(--soft); stroke-width: 1.3; }
.ways { margin: 0; padding: 0; list-style: none; }
.way {
  display: grid; grid-template-columns: 1fr 1.75rem 1.35fr 1.75rem 1fr; align-items: stretch; padding: .4rem 0;
  break-inside: avoid;
}
.stop { padding: .5rem .7rem; border: 1px solid var(--edge); border-radius: .5rem; font-size: .92rem; }
.stop.ksqldb { border-left: .3rem solid var(--blue); }
.stop.lake { border-left: .3rem solid var(--teal); }
.stop.warehouse { border-left: .3rem solid var(--good); }
.stop strong { display: block; }
.kind { font-size: .8rem; color: var(--soft); }
.arrow { width: 1.25rem; margin: auto; fill: none; stroke: var(--soft); stroke-width: 2; }
footer { margin-top: 1.5rem; font-size: .88rem; }
@media (max-width: 62rem) {
  .er.wide { display: none; }
  .er.narrow { display: block; }
}
@media (max-width: 44rem) {
  body { padding: 1rem .6rem 2rem; }
  section { padding: .9rem .8rem; }
  .way { grid-template-columns: 1fr; gap: .2rem; padding: .6rem 0; }
  .arrow { transform: rotate(90deg); }
  .tiles { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .tile .value { font-size: 1.15rem; }
  th, td { padding: .35rem .4rem; }
  td:has(> code) { min-width: 11rem; }
}
@media print {
  :root {
    color-scheme: light;
    --ground: #fff; --card: #fff; --text: #000; --soft: #444; --edge: #bbb; --head: #eee; --blue: #2459c4;
    --teal: #0a7466; --good: #17653a; --good-ground: #e2f4e9; --care: #7a4b00; --care-ground: #fdf0d7;
    --bad: #a11d2c; --bad-ground: #fde8ea;
  }
  body { padding: 0; max-width: none; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav, .skip, details:not([open]) { display: none; }
  section { border: 0; padding: .5rem 0; }
  .scroll { overflow: visible; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
}
"""

STYLE = re.sub(r"\s*([{}:;,>])\s*(?![^(]*\))", r"\1", re.sub(r"\s+", " ", _SHEET)).strip()
