"""The page's style sheet and Jinja2 template; a module, so that an installed package has it without package data."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1f2937;background:#f8fafc;margin:0}
main{max-width:1180px;margin:0 auto;padding:28px 24px 60px}h1{font-size:24px;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:20px;margin:40px 0 10px}h3{font-size:16px;margin:24px 0 6px}p{margin:6px 0;max-width:90ch}
.about,figure p,.scroll+p{color:#4b5563;font-size:13px}code{font-size:.93em;overflow-wrap:anywhere}
.verdict{border-radius:10px;padding:14px 18px;margin:16px 0;border:1px solid #cbd5e1;border-left-width:8px;
background:#fff}.verdict strong{font-size:19px}.verdict ul{margin:8px 0 0;padding-left:20px;max-width:125ch}
.replace{border-color:#15803d}.keep,.noresult{border-color:#b91c1c}.wait{border-color:#b45309}
.lights{list-style:none;margin:12px 0;padding:0;background:#fff;border:1px solid #e5e7eb;border-radius:10px}
.lights li{display:grid;grid-template-columns:86px 130px minmax(0,1fr);gap:0 12px;padding:8px 14px;
border-bottom:1px solid #eef2f7}
.lights li:last-child{border-bottom:0}.lights b{font-weight:600}.lights span:last-child{font-size:14px;color:#374151}
.light{font-weight:600}.light::before{content:"";display:inline-block;width:13px;height:13px;border-radius:50%;
margin-right:8px;vertical-align:-1px;background:currentColor}
.green{color:#15803d}.amber{color:#b45309}.red{color:#b91c1c}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,470px),1fr));gap:16px;align-items:start;
margin:12px 0}
figure{margin:0;background:#fff;border:1px solid #e5e7eb;border-radius:10px;padding:12px 14px;min-width:0}
figcaption{font-weight:600;margin-bottom:4px}figure svg{width:100%;height:auto;display:block}
svg text{font-family:inherit!important}
.scroll{overflow-x:auto;background:#fff;border:1px solid #e5e7eb;border-radius:10px;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid #eef2f7;white-space:nowrap;vertical-align:top}
tr:last-child td,tbody tr:last-child th{border-bottom:0}thead th{color:#4b5563;font-weight:600;background:#f9fafb}
tbody th{text-align:left;font-weight:400}thead th:first-child{text-align:left}tr.primary th,tr.primary
td{font-weight:600} th small,td
small{display:block;color:#6b7280;font-size:12px;font-weight:400}td.words{text-align:left}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px 18px;margin:14px 0;font-size:14px}
dt{color:#4b5563}dd{margin:0;overflow-wrap:anywhere}details{margin:14px 0}summary{cursor:pointer;font-weight:600}
@media(max-width:700px){main{padding:16px 12px 40px}.lights li{grid-template-columns:1fr}dl{grid-template-columns:1fr}}
@media print{body{background:#fff}.scroll{overflow:visible}}
"""

TEMPLATE = """\
{% macro figure(drawing) %}
<figure><figcaption>{{ drawing.title }}</figcaption>{{ drawing.svg }}\
{% if drawing.note %}<p>{{ drawing.note }}</p>{% endif %}</figure>
{% endmacro %}
{% macro pair(c) %}<td>{{ c[0] }}{% if c[1] %}<small>{{ c[1] }}</small>{% endif %}</td>{% endmacro %}
{% macro metrics(rows, label, cuped) %}
<div class="scroll" role="region" aria-label="{{ label }}" tabindex="0"><table><thead><tr><th scope="col">metric</th>
<th scope="col">{{ report.control }}</th><th scope="col">{{ report.treatment }}</th>
<th scope="col">difference<small>one look, delta method</small></th>
<th scope="col">always valid</th><th scope="col">bootstrap</th>
{% if cuped %}<th scope="col">with CUPED<small>always valid</small></th>{% endif %}
<th scope="col">p<small>always valid</small></th></tr></thead><tbody>
{% for row in rows %}<tr{% if row.primary %} class="primary"{% endif %}>
<th scope="row">{{ row.title.split('|')[0] }}<small>{{ row.title.split('|')[1] }}</small></th>
{{ pair(row.arms[0]) }}{{ pair(row.arms[1]) }}{{ pair(row.difference) }}<td>{{ row.always_valid }}</td>
<td>{{ row.bootstrap }}</td>{% if cuped %}{{ pair(row.cuped) }}{% endif %}<td>{{ row.p }}</td></tr>
{% endfor %}</tbody></table></div>
{% endmacro %}
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Experiment {{ report.experiment }}</title><style>{{ style }}</style></head><body><main>
<h1>Experiment {{ report.experiment }}</h1>
<p class="about">Does {{ report.treatment }} (treatment) replace {{ report.control }} (control)? {{ window }}. \
Page written {{ written_on }}.</p>
<div class="verdict {{ report.decision.status | replace(' ', '') }}"><strong>{{ report.decision.sentence }}</strong>
{% if task_sentences %}<ul>{% for said in task_sentences %}<li>{{ said }}</li>{% endfor %}</ul>{% endif %}</div>
<ul class="lights" aria-label="Preconditions">{% for light in report.preconditions %}
<li><span class="light {{ light.state }}">{{ light.state }}</span><b>{{ light.name }}</b>\
<span>{{ light.says }}</span></li>
{% endfor %}</ul>
{% if broken %}
<h2>What to look for</h2>
<p>The arms hold different units, so every difference between them may be one between people. No metric is shown. \
Find the day on which it began, and what loses or doubles units of one arm: exposures recorded after a step that can \
fail, pods with another configuration, weights changed without <code>--since</code>, a unit that is missing in one
client.</p> {% endif %}
<div class="figures">{% for drawing in figures %}{{ figure(drawing) }}{% endfor %}</div>
{% if guardrails %}
<h2>Guardrails</h2>
<div class="scroll" role="region" aria-label="Guardrails" tabindex="0"><table><thead><tr><th scope="col">guardrail</th>
<th scope="col">{{ report.control }}</th><th scope="col">{{ report.treatment }}</th><th scope="col">compared</th>
<th scope="col">value</th><th scope="col">always valid</th><th scope="col">limit</th>
<th scope="col"></th></tr></thead><tbody>
{% for row in guardrails %}<tr><th scope="row">{{ row.title }}</th><td>{{ row.arms[0] }}</td><td>{{ row.arms[1] }}</td>
<td>{{ row.compared }}</td><td>{{ row.value }}</td><td>{{ row.interval }}</td><td>{{ row.limit }}</td>
<td class="words"><span class="{{ {'held': 'green', 'breached': 'red', 'open': 'amber'}[row.status] }}">\
{{ row.word }}</span></td></tr>{% endfor %}</tbody></table></div>
{% if codes %}<p>Requests without a verdict, by code, control and treatment: {{ codes }}.</p>{% endif %}
{% endif %}
{% for task in tasks %}
<section id="{{ task.key }}"><h2>Task: {{ task.name }}</h2>
<p><strong>{{ task.sentence }}</strong></p>
<p class="about">Flagged by: {{ task.flag_labels }}. {{ task.labels }}{% if task.unsupported %} {{ task.unsupported }}\
{% endif %}</p>
{{ metrics(task.rows, 'Metrics of ' ~ task.name, task.cuped) }}
{% if task.cuped %}<p>CUPED: {{ task.cuped }}</p>{% endif %}
<div class="figures">{% for drawing in task.figures %}{{ figure(drawing) }}{% endfor %}</div>
{% if task.paired %}<details open><summary>Shadow pairs of {{ task.name }}</summary><p>{{ task.paired }}</p>
{{ metrics(task.paired_rows, 'Shadow pairs of ' ~ task.name, '') }}</details>{% endif %}
</section>
{% endfor %}
<section id="reading"><h2>How to read this</h2><ul>
{% if not broken %}
<li><strong>Always valid</strong> intervals and p-values may be looked at daily, and acted on as soon as they are \
clear. The one-look interval beside them is right once, at a moment chosen beforehand. The level is {{ level }} %.</li>
<li><strong>The decision</strong> is read off always-valid intervals of {{ metric }}\
{% if report.question.evidence == 'paired' %} on shadow pairs{% endif %}: “no worse than by {{ margin }}” must hold in \
every task, “better” and “worse” are adjusted over the tasks (Holm).</li>
<li><strong>Units</strong> are what chance deals with, not requests: videos of one unit are alike.</li>
<li><strong>Labels</strong> weigh 1 / the probability with which the video was chosen to be labelled, as the feedback \
states it. Wrong probabilities, or appeals among the sources, bend every quality figure. Sources: {{ sources }}.</li>
<li><strong>Recall at a fixed precision</strong> and the calibration error have bootstrap intervals only, for one \
look; the recall's threshold is chosen on these rows: the same favour to both arms.</li>
<li><strong>Slices and days</strong> are for exploring. A slice found here is a question for the next experiment.</li>
{% endif %}
<li><strong>Left out:</strong> {{ left_out }}.</li>
{% if crossed %}<li><strong>Units that met both arms:</strong> {{ crossed }}.</li>{% endif %}
</ul></section>
</main></body></html>
"""
