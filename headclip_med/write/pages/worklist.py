"""index.html: the worklist of a run as one page without scripts, which opens anywhere offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from headclip_med import __version__
from headclip_med.write.pages.frame import page_head
from headclip_med.write.pages.plain_text import visible
from headclip_med.write.rows import FailedInput, SummaryRow

THUMBNAIL_PX = (440, 280)
"""Embedded, so the page shows pictures when it is mailed alone; each is about 15 kB."""

LONGEST_LESION_TABLE = 20

STYLE = """
:root{color-scheme:light dark;--page:#f4f6f8;--card:#fff;--ink:#17202a;--muted:#5b6875;
--line:#dfe4e9;--accent:#b3471d;--calm:#3d6b8e;--warn-page:#fff4d6;--warn:#6b4a00}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;--ink:#e6edf3;
--muted:#8b949e;--line:#2b323b;--accent:#ff9d5c;--calm:#7db4dd;--warn-page:#3a2d0a;--warn:#f5d98b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header,main,footer{max-width:1160px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:24px;margin:0}
h2{font-size:17px;margin:36px 0 10px}
.warning{background:var(--warn-page);color:var(--warn);border-radius:8px;padding:10px 14px;
margin:14px 0}
.counts{display:flex;gap:28px;margin:18px 0;padding:0;list-style:none;color:var(--muted)}
.counts b{display:block;font-size:26px;color:var(--ink);line-height:1.2}
article{display:grid;grid-template-columns:36px 400px 1fr;gap:18px;background:var(--card);
border:1px solid var(--line);border-radius:10px;padding:16px;margin:0 0 14px}
.rank{font-size:20px;color:var(--muted);text-align:right}
.picture img{max-width:100%;border-radius:6px;display:block}
.score{display:flex;align-items:center;gap:14px;flex-wrap:wrap}
.score b{font-size:28px;line-height:1}
.found{color:var(--accent);font-weight:600}
.clear{color:var(--calm)}
.muted{color:var(--muted);font-size:13px}
.uid{font:12px/1.4 ui-monospace,monospace;color:var(--muted);overflow-wrap:anywhere}
svg{display:block}
.track{fill:var(--line)}.bar{fill:var(--accent)}.tick{stroke:var(--ink)}
.bars{fill:var(--calm)}.bars .high{fill:var(--accent)}
table{border-collapse:collapse;width:100%;margin:8px 0;font-size:13px}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{color:var(--muted);font-weight:500}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
a{color:var(--calm)}
nav a{margin-right:14px;font-size:13px}
.notes{margin:8px 0 0;padding-left:18px;color:var(--muted);font-size:13px}
.failures{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:6px 16px}
footer{color:var(--muted);font-size:13px;padding:24px 20px 40px}
@media(max-width:760px){article{grid-template-columns:1fr}.rank{text-align:left}}
"""

_LINKS = {"overlay": "Overlay", "slices": "Slices", "heatmap": "Heatmap", "result": "result.json"}


def render_page(rows: Sequence[SummaryRow], failures: Sequence[FailedInput], out: Path) -> str:
    """Write the page.

    Args:
        rows: In the order in which they shall stand.
        failures: What gave no result.
        out: The run's folder, where the pictures for the thumbnails are.

    Returns:
        The HTML. It loads nothing from anywhere and its policy forbids scripts.
    """
    entries = "".join(_entry(rank, row, out) for rank, row in enumerate(rows, start=1))
    return f"""{page_head("headclip_med screening", STYLE)}
<header>
<h1>Lesion screening</h1>
<p class="warning"><b>Research use only.</b> Not for clinical use, not a diagnosis.
{_what_scores_mean(rows)}</p>
{_counts(rows, failures)}
</header>
<main>
<section>{entries or '<p class="muted">No series was screened.</p>'}</section>
{_failures(failures)}
</main>
<footer>headclip_med {_text(__version__)} &middot; the same rows stand in
<a href="summary.csv">summary.csv</a> and <a href="summary.json">summary.json</a></footer>
</body>
</html>
"""


def _what_scores_mean(rows: Sequence[SummaryRow]) -> str:
    if rows and all(row.calibrated for row in rows):
        return "Scores are calibrated on the data named in the model card."
    return "Scores sort this list; they are not probabilities."


def _counts(rows: Sequence[SummaryRow], failures: Sequence[FailedInput]) -> str:
    marked = sum(bool(row.lesions) for row in rows)
    counts = (len(rows), "series screened"), (marked, "with candidates"), (len(failures), "failed")
    items = "".join(f"<li><b>{count}</b>{label}</li>" for count, label in counts)
    return f'<ul class="counts">{items}</ul>'


def _entry(rank: int, row: SummaryRow, out: Path) -> str:
    count = len(row.lesions)
    found = (
        f'<span class="found">{count} lesion candidate{"s" * (count > 1)}</span>'
        if count
        else '<span class="clear">no lesion candidate</span>'
    )
    facts = [
        row.modality or "no modality",
        f"{len(row.slice_scores)} slice{'s' * (len(row.slice_scores) > 1)}",
        f"window {row.window}",
        row.model,
    ]
    facts += [f"part {row.part}"] if row.part > 1 else []
    names = [row.name] if row.name else [row.study_instance_uid, row.series_instance_uid]
    identity = "<br>".join(_text(name) for name in names if name) or _text(row.folder)
    return f"""<article>
<div class="rank">{rank}</div>
<div class="picture">{_thumbnail(row, out)}</div>
<div>
<div class="score"><b>{row.score:.2f}</b>{_score_bar(row.score)}{found}</div>
<div class="muted">{_text(" · ".join(fact for fact in facts if fact))}</div>
<div class="uid">{identity}</div>
{_slice_bars(row)}
{_lesion_table(row)}
{_links(row)}
{_notes(row)}
</div>
</article>
"""


def _thumbnail(row: SummaryRow, out: Path) -> str:
    if row.picture is None:
        return ""
    try:
        with Image.open(out / row.folder / row.picture) as picture:
            small = picture.convert("RGB")
    except (OSError, ValueError):
        return '<span class="muted">The picture is missing.</span>'
    small.thumbnail(THUMBNAIL_PX, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=82)
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<a href="{_href(row, "overlay")}"><img alt="The most suspicious slice" '
        f'width="{small.width}" height="{small.height}" src="data:image/jpeg;base64,{data}"></a>'
    )


def _score_bar(score: float) -> str:
    return (
        '<svg width="160" height="10" role="img" aria-label="score">'
        '<rect class="track" width="160" height="10" rx="5"/>'
        f'<rect class="bar" width="{160 * score:.1f}" height="10" rx="5"/></svg>'
    )


def _slice_bars(row: SummaryRow) -> str:
    """Draw the scores along the stack: where to scroll to."""
    count = len(row.slice_scores)
    if count < 2:
        return ""
    marked = {i for lesion in row.lesions for i in range(lesion.slices[0], lesion.slices[1] + 1)}
    bars = "".join(
        f'<rect x="{500 * index / count:.2f}" y="{40 - 40 * score:.1f}" '
        f'width="{max(500 / count - 0.6, 0.4):.2f}" height="{40 * score:.1f}" '
        + ('class="high"/>' if index in marked else "/>")
        for index, score in enumerate(row.slice_scores)
    )
    return (
        f'<svg width="500" height="41" viewBox="0 0 500 41" role="img" aria-label="Score of each '
        'slice"><rect class="track" y="40" width="500" height="1"/>'
        f'<g class="bars">{bars}</g></svg>'
        '<div class="muted">Score of each slice; with candidates in orange.</div>'
    )


def _lesion_table(row: SummaryRow) -> str:
    if not row.lesions:
        return ""
    unit = "mm³" if row.has_patient_geometry else "pixels"
    place = "Centre (LPS, mm)" if row.has_patient_geometry else "Centre (column, row, image)"
    lines = "".join(
        f'<tr><td>{lesion.id}</td><td class="number">{lesion.max_score:.3f}</td>'
        f'<td class="number">{lesion.volume_mm3:,.0f}</td>'
        f'<td class="number">{", ".join(f"{part:.1f}" for part in lesion.centre_lps_mm)}</td>'
        f'<td class="number">{_slice_range(lesion.slices)}</td></tr>'
        for lesion in row.lesions[:LONGEST_LESION_TABLE]
    )
    rest = len(row.lesions) - LONGEST_LESION_TABLE
    more = f'<p class="muted">{rest} more stand in result.json.</p>' if rest > 0 else ""
    return f"""<table><thead><tr><th>Candidate</th><th class="number">Highest value</th>
<th class="number">Size ({unit})</th><th class="number">{place}</th><th class="number">Slices</th>
</tr></thead><tbody>{lines}</tbody></table>{more}"""


def _slice_range(slices: tuple[int, int]) -> str:
    first, last = slices[0] + 1, slices[1] + 1
    return str(first) if first == last else f"{first} to {last}"


def _links(row: SummaryRow) -> str:
    named = {**_LINKS, **{name: f"{name}.dcm" for name in row.outputs if name.startswith("seg")}}
    links = "".join(
        f'<a href="{_href(row, name)}">{_text(label)}</a>'
        for name, label in named.items()
        if name in row.outputs
    )
    return f"<nav>{links}</nav>"


def _href(row: SummaryRow, output: str) -> str:
    # "./" first: no path can then pass for a scheme such as javascript:
    return escape("./" + quote(f"{row.folder}/{row.outputs[output]}"))


def _notes(row: SummaryRow) -> str:
    if not row.notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{_text(note)}</li>" for note in row.notes)}</ul>'


def _failures(failures: Sequence[FailedInput]) -> str:
    if not failures:
        return ""
    lines = "".join(
        f"<tr><td>{_text(one.input)}</td><td>{_text(one.code)}</td><td>{_text(one.reason)}</td>"
        f"<td>{_text(one.what_to_do)}</td></tr>"
        for one in failures
    )
    return f"""<h2>Failed</h2>
<div class="failures"><table><thead><tr><th>Input</th><th>Code</th><th>Reason</th>
<th>What to do</th></tr></thead><tbody>{lines}</tbody></table></div>"""


def _text(text: str) -> str:
    return escape(visible(text))
