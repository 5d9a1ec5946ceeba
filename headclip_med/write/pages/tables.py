"""Tables as one page without scripts, which opens anywhere offline."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

from headclip_med import __version__
from headclip_med.write.pages.frame import page_head
from headclip_med.write.pages.plain_text import visible
from headclip_med.write.tables import Document, Drawing, Line, Number, Table, shown

STYLE = """
:root{color-scheme:light dark;--page:#f4f6f8;--card:#fff;--ink:#17202a;--muted:#5b6875;
--line:#dfe4e9;--up:#1d6b3a;--down:#a33a12;--warn-page:#fff4d6;--warn:#6b4a00}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;--ink:#e6edf3;
--muted:#8b949e;--line:#2b323b;--up:#7ddba0;--down:#ff9d5c;--warn-page:#3a2d0a;--warn:#f5d98b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header,main,footer{max-width:1400px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:24px;margin:0}
h2{font-size:17px;margin:36px 0 10px}
p{max-width:860px}
.warning{background:var(--warn-page);color:var(--warn);border-radius:8px;padding:10px 14px;
margin:14px 0;max-width:none}
.table{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;font-size:13px;min-width:100%}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}
thead th{color:var(--muted);font-weight:500}
thead tr:first-child th{color:var(--ink);text-align:center}
th.head,td.reason,thead tr:first-child th.head{text-align:left}
th.head{font-weight:500;white-space:normal;min-width:90px}
.first{border-left:1px solid var(--line)}
td.ours{font-weight:600}
td.exact,td.paper,td.none,td.reason{color:var(--muted)}
td.up{color:var(--up)}td.down{color:var(--down)}
tbody tr:last-child>*{border-bottom:0}
figure{margin:24px 0}
figure img{max-width:100%;border-radius:10px;border:1px solid var(--line);background:#fff}
figcaption,.note{color:var(--muted);font-size:13px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:6px 18px;font-size:13px}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
nav{margin:14px 0}
nav a{margin-right:14px;font-size:13px;color:inherit}
footer{color:var(--muted);font-size:13px;padding:24px 20px 40px}
"""


def render_tables(document: Document) -> str:
    """Show a document as HTML.

    Returns:
        The page. It loads nothing from anywhere and its policy forbids scripts.
    """
    paragraphs = "\n".join(f"<p>{_text(one)}</p>" for one in document.introduction)
    links = "".join(f'<a href="#{_text(t.key)}">{_text(t.title)}</a>' for t in document.tables)
    tables = "\n".join(_table(table) for table in document.tables)
    drawings = "\n".join(_drawing(drawing) for drawing in document.drawings)
    facts = "\n".join(
        f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in document.facts
    )
    return f"""{page_head(_text(document.title), STYLE)}
<header>
<h1>{_text(document.title)}</h1>
<p class="warning"><b>Research use only.</b> Not for clinical use.</p>
{paragraphs}
<nav>{links if len(document.tables) > 1 else ""}</nav>
</header>
<main>
{tables}
{drawings}
<h2>What these numbers rest on</h2>
<dl>
{facts}
</dl>
</main>
<footer>headclip_med {_text(__version__)} &middot; the same numbers at full precision stand in
{_text(document.name)}.csv and {_text(document.name)}.json</footer>
</body>
</html>
"""


def _table(table: Table) -> str:
    parts = [table.parts(column) for column in range(len(table.columns))]
    heads = "".join(f'<th class="head" rowspan="2">{_text(head)}</th>' for head in table.heads)
    groups = "".join(
        f'<th class="first" colspan="{len(used)}">{_text(title)}</th>'
        for title, used in zip(table.columns, parts, strict=True)
    )
    names = "".join(
        f'<th class="first">{part}</th>' if part == "ours" else f"<th>{part}</th>"
        for used in parts
        for part in used
    )
    lines = "\n".join(f"<tr>{''.join(_cells(line, parts))}</tr>" for line in table.lines)
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes)
    return f"""<section id="{_text(table.key)}">
<h2>{_text(table.title)}</h2>
<div class="table"><table><thead><tr>{heads}{groups}</tr><tr>{names}</tr></thead>
<tbody>
{lines}
</tbody></table></div>
{notes}
</section>"""


def _cells(line: Line, parts: list[tuple[str, ...]]) -> Iterator[str]:
    for head in line.heads:
        yield f'<th class="head" scope="row">{_text(head)}</th>'
    if line.reason:
        yield f'<td class="first reason" colspan="{sum(map(len, parts))}">{_text(line.reason)}</td>'
        return
    for number, used in zip(line.numbers, parts, strict=True):
        for part in used:
            yield f'<td class="{_class(number, part)}">{_text(shown(number, part))}</td>'


def _class(number: Number | None, part: str) -> str:
    if part == "ours":
        return "first none" if number is None else "first ours"
    if part != "difference":
        return part
    difference = None if number is None else number.difference
    if difference is None:
        return "none"
    return "up" if difference >= 0 else "down"


def _drawing(drawing: Drawing) -> str:
    data = base64.b64encode(drawing.png).decode()
    return (
        f'<figure><img alt="{_text(drawing.title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_text(drawing.title)}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return escape(visible(text))
