"""The page's style sheet and Jinja2 template; a module, so that an installed package has it without package data."""

from __future__ import annotations

from training.report.first_screen_template import FIRST_SCREEN, FIRST_SCREEN_STYLE, THRESHOLD_SLICES

STYLE = (
    FIRST_SCREEN_STYLE
    + """
:root{color-scheme:light}*{box-sizing:border-box}html{scroll-padding-top:12px}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1f2937;background:#f8fafc;margin:0}
main{max-width:1180px;margin:0 auto;padding:28px 24px 60px}h1{font-size:24px;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:20px;margin:44px 0 10px}h3{font-size:17px;margin:30px 0 8px}h4{font-size:15px;margin:24px 0 8px}
p{margin:6px 0;max-width:80ch}.about,figure p{color:#4b5563;font-size:13px}code{font-size:.93em;overflow-wrap:anywhere}
a{color:#0b5c94}nav{margin:10px 0;display:flex;flex-wrap:wrap;gap:2px 16px}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px 18px;margin:14px 0;font-size:14px}
dt{color:#4b5563}dd{margin:0;overflow-wrap:anywhere}
.verdict{border-radius:10px;padding:12px 18px;margin:12px 0;border:1px solid #cbd5e1;border-left-width:6px;
background:#fff}
.better{border-color:#15803d}.worse{border-color:#b91c1c}.mixed{border-color:#b45309}.none{border-color:#94a3b8}
.verdict ul{margin:6px 0 0;padding-left:20px;max-width:125ch}.verdict strong a{color:inherit}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,470px),1fr));gap:16px;align-items:start}
.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));gap:12px}
figure{margin:0;background:#fff;border:1px solid #e5e7eb;border-radius:10px;padding:12px 14px;min-width:0}
figcaption{font-weight:600;margin-bottom:4px;overflow-wrap:anywhere}figure svg{width:100%;height:auto;display:block}
svg text{font-family:inherit!important}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;margin:8px 0 12px}
.legend span{display:inline-flex;align-items:center;gap:7px;overflow-wrap:anywhere}.swatch{flex:none}
.scroll{overflow-x:auto;background:#fff;border:1px solid #e5e7eb;border-radius:10px;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid #eef2f7;white-space:nowrap;vertical-align:top}
thead th{color:#4b5563;font-weight:600;background:#f9fafb}
thead tr:first-child th{text-align:center;border-left:1px solid #e5e7eb}
tbody th,thead tr:first-child th:first-child{text-align:left;font-weight:400;border-left:0}
tbody th{min-width:150px;white-space:normal;position:sticky;left:0;background:#fff;z-index:1}
tbody th small,td small{display:block;color:#6b7280;font-size:12px}
tr.section span{position:sticky;left:10px}tr.section th{background:#eef2f7;font-weight:600;font-size:13px;color:#374151}
tbody.controls td,tbody.controls th{color:#4b5563}tbody+tbody{border-top:3px solid #cbd5e1}
.good{color:#15803d;font-weight:600}.bad{color:#b91c1c;font-weight:600}td.words,th.words{text-align:left}
details{margin:14px 0}summary{cursor:pointer;font-weight:600}
@media(max-width:700px){main{padding:16px 12px 40px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}
tbody th{min-width:122px;max-width:140px;overflow-wrap:anywhere}.long{display:none}
tbody th small.name{font-size:14px;color:inherit}th,td{padding:5px 7px}figure{padding:10px 8px}}
@media print{body{background:#fff}.scroll{overflow:visible}}
"""
)

TEMPLATE = (
    """\
{% macro cell(c) %}
<td>{% if c.mark %}<span class="{{ 'good' if c.verdict == 'better' else 'bad' }}" title="{{ c.verdict }} \
than the baseline">{{ c.mark }}</span> {% endif %}{{ c.value }}{% if c.interval %}<small>{{ c.interval }}</small>\
{% endif %}</td>
{% endmacro %}
{% macro grid(table, label, first) %}
<div class="scroll" role="region" aria-label="{{ label }}" tabindex="0"><table>
<thead><tr><th rowspan="2" scope="col">{{ first }}</th>
{% for name, width in table.groups %}<th colspan="{{ width }}" scope="colgroup">{{ name }}</th>{% endfor %}</tr>
<tr>{% for head in table.heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
{% for section in table.sections %}
<tbody{% if section.title.startswith('Controls') %} class="controls"{% endif %}>
<tr class="section"><th scope="rowgroup" colspan="{{ table.heads | length + 1 }}">\
<span>{{ section.title }}</span></th></tr>
{% for line in section.lines %}
<tr><th scope="row">{% if first == 'method' and line.title != line.name %}<span class="long">{{ line.title }}</span>\
<small class="name">{{ line.name }}</small>{% else %}{{ line.name }}{% if first != 'method' %}\
<small>{{ line.title }}</small>{% endif %}{% endif %}</th>
{% for c in line.cells %}{{ cell(c) }}{% endfor %}</tr>
{% endfor %}
</tbody>
{% endfor %}
</table></div>
{% endmacro %}
"""
    + THRESHOLD_SLICES
    + """\
{% macro figure(drawing) %}
<figure><figcaption>{{ drawing.title }}</figcaption>{{ drawing.svg }}{% if drawing.note %}<p>{{ drawing.note }}</p>\
{% endif %}</figure>
{% endmacro %}
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Training report: {{ report.model }} on {{ report.manifest.name }}</title>
<style>{{ style }}</style></head><body><main>
<h1>Training report: {{ report.model }} on {{ report.manifest.name }}</h1>
"""
    + FIRST_SCREEN
    + """\
<nav aria-label="Sections"><a href="#ship">Ship or not</a>
<a href="#run">Run and verdict</a><a href="#summary">Summary</a>
{% for t in tasks %}<a href="#{{ t.key }}">{{ t.name }}</a>{% endfor %}
<a href="#learning">Learning curves</a><a href="#reading">How to read this</a></nav>

<section id="run"><h2>What was run, and what it shows</h2>
<p><strong>{{ overall }}</strong></p>
{% for t in tasks %}
<div class="verdict {{ t.verdict.status }}"><strong><a href="#{{ t.key }}">{{ t.name }}</a></strong>: \
{{ t.verdict.headline }}
<ul>{% for sentence in t.verdict.sentences %}<li>{{ sentence }}</li>{% endfor %}</ul></div>
{% endfor %}
<dl>{% for name, value in facts %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
</section>

<section id="summary"><h2>Summary: methods and tasks</h2>
<p class="about">F1 at the threshold fitted on validation rows, and PR-AUC, on held-out rows: means over trials, with \
the 95 % interval below. ▲ better, ▼ worse than the baseline, by the interval of the paired difference\
{% if adjusted %} and adjusted for the number of comparisons{% endif %}; without a mark: not distinguishable, or not \
compared.</p>
{{ grid(summary, 'Summary of methods and tasks', 'method') }}
</section>

{% for t in tasks %}
<section id="{{ t.key }}"><h2>Task: {{ t.name }}</h2>
<p>{{ t.task.rows_tested }} rows in {{ t.groups }} tested, \
{{ '%.1f' % (100 * t.task.positive_share) }} % positive (flag: {{ t.task.flags | join(', ') }}; {{ t.task.kind }}\
{% if t.task.kind == 'multilabel' %}, each row counted once for each label{% endif %}).</p>
<p><strong>{{ t.verdict.headline }}</strong></p>
<ul>{% for sentence in t.gap_words %}<li>{{ sentence }}</li>{% endfor %}</ul>
<div class="legend" role="note" aria-label="Legend">{% for mark, name in t.legend %}<span>{{ mark }}{{ name }}</span>\
{% endfor %}</div>
<div class="figures">{% for drawing in t.figures %}{{ figure(drawing) }}{% endfor %}</div>
{% if t.undrawn %}<p class="about">Without a curve, because not every trial has its scores: \
{{ t.undrawn | join(', ') }}.</p>{% endif %}
{% if t.slices %}<h3>By slice</h3>
<p class="about">PR-AUC over the trials whose held-out rows hold a positive of the slice. Small slices say little.</p>
{{ grid(t.slices, 'PR-AUC by slice of ' ~ t.name, 'slice') }}{% endif %}
{% if t.by_threshold %}
{{ threshold_slices(t.by_threshold, 'Misses and false alarms by slice of ' ~ t.name, margin) }}{% endif %}
<details><summary>All metrics of {{ t.name }}</summary>
{{ grid(t.metrics, 'All metrics of ' ~ t.name, 'method') }}</details>
{% if t.comparisons %}<details><summary>All {{ t.comparisons | length }} comparisons of {{ t.name }}</summary>
<div class="scroll" role="region" aria-label="Comparisons of {{ t.name }}" tabindex="0"><table><thead><tr>
<th class="words">difference</th>
<th>F1</th><th class="words"></th><th>PR-AUC</th><th class="words"></th></tr></thead><tbody>
{% for line in t.comparisons %}<tr><th scope="row">{{ line.name }}</th>{% for c in line.cells %}
<td>{{ c.value }}{% if c.interval %}<small>{{ c.interval }}</small>{% endif %}</td>
<td class="words">{{ c.verdict }}</td>
{% endfor %}</tr>{% endfor %}</tbody></table></div>
<ul>{% for sentence in t.all_gap_words %}<li>{{ sentence }}</li>{% endfor %}</ul></details>{% endif %}
</section>
{% endfor %}

<section id="learning"><h2>Learning curves</h2>
<p class="about">Mean training loss over all tasks: thin, a trial; thick, the mean over trials. Every method \
minimises a loss of its own, so levels compare within a panel only. A curve that still falls at its end says that the \
method had too few epochs, not that it is worse.</p>
{% if learning %}<div class="figures small">{% for drawing in learning %}{{ figure(drawing) }}{% endfor %}</div>
{% else %}<p>The run folder holds no checkpoint to read them from.</p>{% endif %}
</section>

<section id="reading"><h2>How to read this, and what it cannot show</h2>
<ul>
<li><strong>Intervals</strong> are a bootstrap over groups (source videos, backgrounds, channels), not over rows: rows \
of a group are alike. With few groups they are wide, and rightly so. Differences are paired: every replicate applies \
one draw of groups to both methods.</li>
<li><strong>“Not distinguishable”</strong> is not “equal”: the data leave either sign open. Look at how far the \
interval reaches.</li>
<li><strong>Many comparisons.</strong> This page gives {{ tests }} verdicts on differences. {% if adjusted %}They are \
adjusted within families of comparisons, not over the whole page.{% else %}At 95 % one in twenty goes beyond its \
interval by chance where nothing differs: about {{ '%.0f' % (tests / 20) }} here.{% endif %}</li>
<li><strong>Thresholds and temperatures</strong> come from validation rows, never from the rows they are judged on. \
F1 holds for that threshold alone; PR-AUC for the order of the scores alone.</li>
<li><strong>The best other student</strong> of a task was picked by these very test rows: its place is flattered.</li>
<li><strong>Gap closed</strong> is (method - baseline) / (teacher - baseline). It is given only where the teacher is \
distinguishably better than the baseline; a small gap makes it wild.</li>
<li><strong>Controls</strong> see less than a student does: container facts, a background, words alone, or CPFD's \
weights tampered with. A student that is not clear of them has not been shown to use what the control lacks.</li>
<li><strong>ECE</strong>'s interval is without the gaps that drawing groups opens by itself.</li>
<li><strong>Confidence</strong> here is <code>{{ confidence }}</code>. On rows that the teacher was trained on, it \
also measures memory. Training and held-out rows differ in number and kind; only the shapes compare.</li>
<li><strong>Not shown:</strong> other data than this manifest's, drift after it was collected, the cost of each error \
to people, and anything about groups that no slice names.</li>
</ul></section>
</main></body></html>
"""
)
