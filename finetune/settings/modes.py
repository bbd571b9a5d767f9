"""What quick, standard and conservative stand for, and what a method changes of that."""

from collections.abc import Mapping

Values = Mapping[str, object]  # of settings, by field name
MODES: Mapping[str, Values] = {
    "quick": {"iters": 100, "batch_size": 2, "steps_per_eval": 50},
    "standard": {},
    "conservative": {"iters": 800, "learning_rate": 5e-5, "lora_dropout": 0.05, "patience": 3},
}
# what a method changes in each mode: fewer and smaller steps, because each takes longer and goes further from the model
METHOD_MODES: Mapping[str, Mapping[str, Values]] = {
    name: {
        "quick": {"iters": 20, "steps_per_eval": 10, "warmup": 2, **values},
        "standard": {"iters": 200, "steps_per_eval": 50, **values},
        "conservative": {"iters": 100, "steps_per_eval": 20, **values, **gentle},
    }
    for name, values, gentle in (
        ("dpo", {"learning_rate": 5e-5}, {"learning_rate": 1e-5}),
        ("orpo", {"learning_rate": 5e-5}, {"learning_rate": 1e-5}),
        (
            "grpo",
            {
                "learning_rate": 5e-5,
                "weight_decay": 0.0,
                "schedule": "linear",  # at a constant rate the noise of the last steps stays in the adapters
                "steps_per_report": 1,
                "steps_per_save": 5,
            },
            {"learning_rate": 1e-5, "grpo_kl": 0.02},
        ),
    )
}


def of_other_method(name: str, method: str) -> bool:
    """Whether a setting is one of a single method, and not of this one."""
    of_method = name.partition("_")[0]
    return of_method in METHOD_MODES and of_method != method
