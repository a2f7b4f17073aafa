"""The page's Jinja2 template; a module, so that an installed package has it without package data."""

from __future__ import annotations

TEMPLATE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Worst mistakes of {{ document.bundle.name }} on {{ document.manifest.name }}</title><style>
:root{color-scheme:light}*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1f2937;background:#f8fafc;margin:0}
main{max-width:1240px;margin:0 auto;padding:24px}h1{font-size:23px;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:20px;margin:34px 0 6px}h3{font-size:16px;margin:20px 0 8px}p{margin:4px 0;max-width:100ch}
.about{color:#4b5563;font-size:13px}.red{color:#b91c1c;font-weight:600}
.rates{display:flex;flex-wrap:wrap;gap:8px 26px;margin:8px 0}.rates div{font-variant-numeric:tabular-nums}
.rates small{display:block;color:#6b7280}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,390px),1fr));gap:12px}
.card{background:#fff;border:1px solid #e5e7eb;border-radius:10px;padding:10px 12px;min-width:0;font-size:14px}
.card p{margin:2px 0;overflow-wrap:anywhere}.pictures{display:flex;gap:4px;margin-bottom:6px}
.pictures img{width:120px;height:120px;border-radius:6px;background:#e5e7eb;min-width:0}
.score{font-variant-numeric:tabular-nums;font-weight:600}
@media print{.card{break-inside:avoid}}
</style></head><body><main>
<h1>Worst mistakes of {{ document.bundle.name }} {{ document.bundle.version }} on {{ document.manifest.name }}</h1>
<p class="about">Rows: {{ document.manifest.part }}. Bundle {{ document.bundle.digest[:12] }}, manifest \
{{ document.manifest.digest[:12] }}. Each decided at the bundle's own threshold. Pictures are what the model saw. This \
page holds your clips and texts: treat it as you treat them.</p>
{% for note in document.notes %}<p class="red">{{ note }}</p>{% endfor %}
{% if document.unreadable %}<p class="red">Clips that cannot be decoded, and are not scored:
{% for code, n in document.unreadable.items() %}{{ code }} {{ n }}{{ ', ' if not loop.last }}{% endfor %}.</p>\
{% endif %}
{% if left_out %}<p class="about">{{ left_out }} mistakes are shown without pictures: the page is full.</p>{% endif %}
{% for t in tasks %}
<section><h2>{{ t.name }}</h2>
<p><strong>Misses {{ t.task.missed }} of {{ t.task.positives }} positives, flags {{ t.task.false_alarms }} of \
{{ t.task.rows - t.task.positives }} negatives.</strong></p>
{% if t.task.too_little_data %}<p class="red">Too little data to tell: {{ t.task.too_little_data }}.</p>{% endif %}
{% if t.task.threshold_fault %}<p class="red">Not to be served so: {{ t.task.threshold_fault }}.</p>{% endif %}
{% if t.task.unserved %}<p class="red">The bundle does not serve this task: {{ t.task.unserved }}.</p>{% endif %}
{% for warning in t.warnings %}<p class="red">{{ warning }}</p>{% endfor %}
<div class="rates">{% for name, value in t.metrics %}<div><small>{{ name }}</small>{{ value }}</div>{% endfor %}</div>
<p class="about">95 % intervals over {{ t.task.positive_groups }} groups of positives and \
{{ t.task.negative_groups }} of negatives.\
{% if t.task.unanswered %} {{ t.task.unanswered }} labelled rows hold nothing that this task reads.{% endif %}</p>
{% for outcome, cards in t.mistakes.items() %}
<h3>{{ 'Misses' if outcome == 'missed' else 'False alarms' }}, the farthest from the threshold first</h3>
{% if not cards %}<p class="about">None.</p>{% endif %}
<div class="cards">{% for c in cards %}<div class="card">
{% if c.pictures %}<div class="pictures">{% for picture in c.pictures %}\
<img src="{{ picture }}" alt="frame {{ loop.index }} of {{ c.id }}">{% endfor %}</div>{% endif %}
<p><span class="score">{{ c.score }}</span> against {{ c.threshold }}: labelled {{ c.label }}, called {{ c.said }}</p>
{% for text in c.texts %}<p>{{ text }}</p>{% endfor %}
<p class="about">{{ c.id }}{% if c.video %}, {{ c.video }}{% endif %}, group {{ c.group }}\
{% for slice in c.slices %}, {{ slice }}{% endfor %}</p></div>\
{% endfor %}</div>{% endfor %}</section>
{% endfor %}
</main></body></html>
"""
