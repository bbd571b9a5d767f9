"""Chat templates by name, for ``--template``: how each family of models writes a conversation. Each is a Jinja text.

``END`` ends an assistant's turn. It is the template's own mark; if the model does not have that mark as a special token, its
end-of-sequence token follows, because the model has to learn one token as the end of an answer.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from finetune.errors import UserError, closest, path_of
from finetune.models.template_check import MOST_CHARACTERS

# for families without this role: ChatEncoder then puts the system message into the first user turn
_NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"


@dataclass(frozen=True)
class Template:
    """A chat template for any model.

    ``text`` is Jinja. ``end`` is the mark with which the template ends a turn, "" if it has none.
    """

    text: str
    end: str

    def for_model(self, special: Collection[str], eos: str | None, *, begins: bool = False) -> str:
        """The Jinja text for a model with these ``special`` tokens and this end-of-sequence token. With ``begins`` its texts
        begin with the beginning-of-sequence token.

        UserError if the model has no token that could end a turn.
        """
        end = self.end
        if end not in special:
            if eos is None:
                raise UserError(
                    "--template: the model has neither the template's end-of-turn token nor an end-of-sequence token"
                )
            end += eos
        begin = "{{ bos_token }}" if begins and "bos_token" not in self.text else ""
        return f"{{% set END = {json.dumps(end)} %}}{begin}{self.text}"


_GEMMA = Template(
    "{{ bos_token }}"
    + _NO_SYSTEM
    + "{% for message in messages %}"
    + "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' + message.content | trim }}"
    + "{{ END if message.role == 'assistant' else '<end_of_turn>' }}{{ '\\n' }}"
    + "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    end="<end_of_turn>",
)
_CHATML = Template(
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
    "{{ END if message.role == 'assistant' else '<|im_end|>' }}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    end="<|im_end|>",
)
_LLAMA3 = Template(
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim }}"
    "{{ END if message.role == 'assistant' else '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    end="<|eot_id|>",
)
_LLAMA2 = Template(
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{% elif message.role == 'user' %}"
    "{% set system = '<<SYS>>\\n' + loop.previtem.content + '\\n<</SYS>>\\n\\n'"
    " if loop.previtem is defined and loop.previtem.role == 'system' else '' %}"
    "{{ bos_token + '[INST] ' + (system + message.content) | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content | trim + ' ' + END }}{% endif %}"
    "{% endfor %}",
    end="",
)
_MISTRAL = Template(
    "{{ bos_token }}"
    + _NO_SYSTEM
    + "{% for message in messages %}"
    + "{{ '[INST] ' + message.content + '[/INST]' if message.role == 'user' else ' ' + message.content | trim + END }}"
    + "{% endfor %}",
    end="",
)
_ALPACA = Template(
    "{{ bos_token if bos_token is defined }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content | trim + '\\n\\n' }}"
    "{% elif message.role == 'user' %}{{ '### Instruction:\\n' + message.content | trim + '\\n\\n### Response:\\n' }}"
    "{% else %}{{ message.content | trim + END + '\\n\\n' }}{% endif %}"
    "{% endfor %}",
    end="",
)

TEMPLATES: dict[str, Template | None] = {
    "model": None,  # the model's own
    "gemma": _GEMMA,
    "chatml": _CHATML,
    "llama": _LLAMA3,
    "llama2": _LLAMA2,
    "alpaca": _ALPACA,
    "mistral": _MISTRAL,
}


def find_template(name: str) -> Template | str | None:
    """The template of this name, or the text of the Jinja file at this path; None for "model", the model's own.

    UserError if it is neither.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = path_of(name, "--template")
    if not path.is_file():
        near = closest(name, TEMPLATES)
        hint = (
            f"did you mean {near}?" if near else f"choose from {', '.join(TEMPLATES)}, or pass the path of a Jinja file"
        )
        raise UserError(f"--template: unknown value {name!r} ({hint})")
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MOST_CHARACTERS + 1)  # ChatEncoder refuses what is longer
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--template: {path}: cannot be read: {error}") from None
