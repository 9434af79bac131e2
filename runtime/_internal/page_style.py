"""What our HTML pages look like: one palette, light and dark, and the text that all of them have."""

__all__ = ["PAGE_STYLE"]

PAGE_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1c1d1f; --soft: #5a5f66; --line: #d9dbde;
  --good: #1a7f4b; --bad: #c2261f; --unsure: #8a5a00; --wait: #2f66c4; --note: #8b3fa8; --plain: #6b7178;
  --recovered: #0f7480; --slow: #9a4a00; --track: #eceef0; --focus: #2f66c4; }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --card: #1e2125; --ink: #e8eaed; --soft: #a3a9b1;
  --line: #363b42; --good: #58c48a; --bad: #ff8078; --unsure: #e5b454; --wait: #84aef5; --note: #d093e8;
  --plain: #9aa1a9; --recovered: #5cc8d3; --slow: #ffa657; --track: #2a2e34; --focus: #84aef5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
header, main { max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { margin: 0 0 .25rem; font-size: 1.35rem; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
code, .mono { font: .8125rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .unsure { color: var(--unsure); }
.recovered { color: var(--recovered); } .slow { color: var(--slow); }
.wait-tone { color: var(--wait); } .note { color: var(--note); } .plain { color: var(--plain); }
"""
