"""The template of the page's first screen; ``screen`` is a ``training.report.first_screen.FirstScreen``."""

from __future__ import annotations

FIRST_SCREEN_STYLE = """
.ship{border-radius:12px;padding:12px 20px;margin:14px 0 12px;color:#fff}.ship h2{margin:0;font-size:26px}
.ship p{margin:4px 0 0;max-width:none;font-size:16px}
.ship.go{background:#15803d}.ship.stop{background:#b91c1c}.ship.few{background:#92400e}
.task{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,6fr);gap:4px 22px;background:#fff;padding:10px 16px;
border:1px solid #cbd5e1;border-left:7px solid;border-radius:10px;margin:10px 0;align-items:start}
.task.go{border-left-color:#15803d}.task.stop{border-left-color:#b91c1c}.task.few{border-left-color:#b45309}
.task h3{margin:0;font-size:17px}.task h3 b{margin-left:8px}
.go h3 b{color:#15803d}.stop h3 b{color:#b91c1c}.few h3 b{color:#92400e}.task p{margin:3px 0;font-size:14px}
.task ul{margin:3px 0;padding-left:18px;font-size:13px;color:#4b5563}.red,td.red small{color:#b91c1c;font-weight:700}
.task table{font-size:14px}.task th{min-width:0;padding:2px 8px;font-weight:400;color:#4b5563;text-align:right}
.task thead th,.task thead tr:first-child th{background:none;border-left:0;text-align:right}
.task thead tr:first-child th:first-child{text-align:right}
.task td{padding:2px 8px;font-size:15px}.task p.facts{font-size:13px;color:#4b5563}.task .scroll{margin:2px 0}
@media(max-width:700px){.task{grid-template-columns:minmax(0,1fr)}}
"""

FIRST_SCREEN = """\
{% set tones = {'ship': 'go', 'do_not_ship': 'stop', 'too_little_data': 'few'} %}
<section id="ship"><div class="ship {{ tones[screen.decision] }}"><h2>{{ screen.headline }}</h2>
<p>{{ screen.detail }}</p></div>
{% for t in screen.tasks %}
<div class="task {{ tones[t.decision] }}"><div><h3>{{ t.name }}<b>{{ t.verdict }}</b></h3>
{% for words in t.why %}<p{% if t.near_chance and loop.first %} class="red"{% endif %}>{{ words }}.</p>{% endfor %}
{% if t.cautions %}<ul>{% for words in t.cautions %}<li>{{ words }}.</li>{% endfor %}</ul>{% endif %}
</div><div><div class="scroll"><table aria-label="PR-AUC on {{ t.name }}"><thead><tr>\
{% for s in t.standings %}<th scope="col">{{ s.head }}</th>{% endfor %}</tr></thead><tbody><tr>\
{% for s in t.standings %}<td{% if s.red %} class="red"{% endif %}>{% if s.mark %}<span \
class="{{ 'good' if s.mark == 'better' else 'bad' }}" title="{{ s.mark }} than the baseline">\
{{ '▲' if s.mark == 'better' else '▼' }}</span> {% endif %}{{ s.value }}<small>{{ s.interval or '&nbsp;' | safe }}\
</small><small>{{ s.name }}</small></td>{% endfor %}</tr></tbody></table></div>
<p class="facts">Held out: {{ t.data | join(', ') }} ({{ t.base_rate }}).<br>ROC-AUC of the student \
<span{% if t.near_chance %} class="red"{% endif %}>{{ t.roc_auc }}</span>, chance 0.5; at its threshold it \
{{ t.at_threshold }}.{% if t.against_baseline %}<br>Over the baseline, PR-AUC \
{{ t.against_baseline }}.{% endif %}</p></div></div>
{% endfor %}
<p class="about">PR-AUC on held-out rows with its 95 % interval; ▲ better, ▼ worse than the baseline. The rule, which \
the export applies too: five groups of each class or more; ROC-AUC above chance, and PR-AUC above the free controls, \
beyond their intervals; a threshold that flags at most half of the negatives, and relatively more of the \
positives.</p></section>
"""

THRESHOLD_SLICES = """\
{% macro threshold_slices(lines, label, margin) %}
<h4>What the student's threshold does, slice by slice</h4>
<p class="about">At the thresholds fitted on validation rows, each slice beside the rest of the rows that name it. \
Worse: beyond chance, by Holm's adjustment over all slices of the task; in red where the difference also is \
{{ margin }} or more.</p>
<div class="scroll" role="region" aria-label="{{ label }}" tabindex="0"><table><thead><tr><th rowspan="2">slice</th>
<th colspan="4" scope="colgroup">positives missed</th><th colspan="4" scope="colgroup">negatives flagged</th></tr><tr>
{% for _ in range(2) %}<th>share</th><th>elsewhere</th><th>difference</th><th class="words"></th>{% endfor %}</tr>
</thead><tbody>
{% for line in lines %}<tr><th scope="row">{{ line.name }}<small>{{ line.title }}</small></th>
{% for c in line.cells %}{% if loop.index0 % 4 == 3 %}<td class="words">{% if c.verdict %}\
<span class="bad">{{ c.value }}</span>{% else %}{{ c.value }}{% endif %}</td>{% else %}{{ cell(c) }}{% endif %}\
{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endmacro %}
"""
