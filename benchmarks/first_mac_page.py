"""The page of ``first_mac.py``: a pure function of its record, with nothing from outside."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>First run on {{ chip }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body { color: #222; background: #fff }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.05rem; margin: 1.6rem 0 .2rem } p { margin: .2rem 0 }
.about { color: #666 } .ok { color: #157347 } .no { color: #b02a37; font-weight: 600 } .time { color: #888; font-weight: 400 }
table { border-collapse: collapse; width: 100% } td { padding: .1rem .6rem .1rem 0 }
td.value { text-align: right; white-space: nowrap }
td.bar { width: 45% } td.bar div { background: #4c7ed0; height: .7rem; min-width: 1px; border-radius: 2px }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } .ok { color: #6cc08b } .no { color: #ee8a93 } }
</style>
<h1>{{ chip }}</h1>
<p class="about">{{ about }}</p>
{% for title, check in checks.items() %}
<h2>{{ title }} <span class="time">{{ "%.0f" | format(check.seconds) }} s</span></h2>
<p class="{{ classes[check.good] }}">{{ marks[check.good] }}{{ check.line }}</p>
{% if check.numbers %}<table>{% for name, value, unit in check.numbers %}
<tr><td>{{ name }}</td><td class="value">{{ figure(value) }} {{ unit }}</td>
<td class="bar"><div style="width: {{ "%.1f" | format(100 * value / most(check.numbers, unit)) }}%"></div></td></tr>
{% endfor %}</table>{% endif %}
{% endfor %}
<p class="about">Numbers and what the checks printed are in the JSON file beside this page.</p>
</html>
"""


def page(record: Mapping[str, Any]) -> str:
    """The page; everything in the record is escaped."""
    about = record["machine"]
    system = f"macOS {record['macos']}" if record["macos"] else about["machine"]
    parts = [system, f"{about['memory_gb']} GB", f"Python {about['python']}", record["date"]]
    parts += ["quick: tiny model, no conclusions"] if record["quick"] else []
    environment = Environment(autoescape=True)
    environment.globals |= {"figure": _figure, "most": _most}
    environment.globals |= {
        "classes": {True: "ok", False: "no", None: ""},
        "marks": {True: "✓ ", False: "✗ ", None: ""},
    }
    return environment.from_string(_PAGE).render(
        chip=about["chip"] or about["machine"], about=" · ".join(map(str, parts)), checks=record["checks"]
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _most(numbers: list[tuple[str, float, str]], unit: str) -> float:
    """The longest bar of a unit."""
    return max((value for _, value, other in numbers if other == unit), default=0) or 1.0
