"""The chat template of the training as a GGUF file has it: what FineTune does around it is written into the template."""

import json
import re

from finetune.export.source import Source
from finetune.models.conversation import Conversation

_DATE = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
# For a template that has no system role: into the first user turn, as in training.
_FOLDED = (
    "{%- if messages|length > 1 and messages[0]['role'] == 'system' -%}"
    "{%- set messages = [{'role': messages[1]['role'], 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:] -%}{%- endif -%}"
)


def in_gguf(source: Source) -> str:
    """The Jinja text. It sets what the training set, writes the date that the training wrote, and folds a system message where
    the training did."""
    encoder, text = source.encoder, source.chat_template
    text = _DATE.sub(lambda found: json.dumps(encoder.now.strftime(found[2])), text)
    values = {name: str(value).lower() for name, value in sorted(encoder.switches.items())}
    settings = "".join(f"{{%- set {name} = {value} -%}}" for name, value in values.items())
    return (_FOLDED if folds_system(source) else "") + settings + text


def folds_system(source: Source) -> bool:
    """Whether a system message stands in the first user turn."""
    messages = [{"role": "system", "content": "S1s"}, {"role": "user", "content": "U1u"}]
    encoder = source.encoder
    try:
        asked = encoder.prompt(Conversation(messages))  # type: ignore[arg-type]
        folded = encoder.prompt(Conversation([{"role": "user", "content": "S1s\n\nU1u"}]))
    except ValueError:
        return False
    return asked == folded
