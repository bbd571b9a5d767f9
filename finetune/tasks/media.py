"""Images, sound and films in rows: only text is learned, and a question about an image means nothing without it."""

from collections.abc import Mapping, Sequence

from finetune.models.conversation import Message
from finetune.tasks.values import is_empty

FIELDS = frozenset(
    (
        "image",
        "images",
        "image_url",
        "image_path",
        "pixel_values",
        "audio",
        "audios",
        "audio_path",
        "sound",
        "video",
        "videos",
    )
)
PARTS = frozenset(  # types of parts of a message
    (
        "image",
        "image_url",
        "input_image",
        "audio",
        "audio_url",
        "input_audio",
        "video",
        "video_url",
        "file",
        "input_file",
    )
)
_PLACES = ("<image>", "<video>", "<audio>", "<|image|>", "<|image_pad|>", "<|vision_start|>", "<image_soft_token>")


def demand_text(row: Mapping[str, object]) -> None:
    """ValueError if the row has an image, sound or a film."""
    for name in (name for name in row if name in FIELDS and not is_empty(row[name])):
        raise ValueError(
            f"the row has {name}, and only text can be learned (remove it, or --ignore {name} learns the text)"
        )


def demand_no_places(messages: Sequence[Message]) -> None:
    """ValueError if a turn of the user begins or ends with the mark for an image; elsewhere it can be code."""
    for message in messages:
        text = message["content"].strip()
        for place in _PLACES:
            if message["role"] == "user" and (text.startswith(place) or text.endswith(place)):
                raise ValueError(
                    f"a message of the user has an image or the like ({place}), and only text can be learned"
                )
