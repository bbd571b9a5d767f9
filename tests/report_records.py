"""Records as the stages write them, small; the same as the first format had them; and the same with an attack in every text."""

from typing import Any

MACHINE = {"machine": "Linux x86_64, 2 cores", "python": "3.11.7", "versions": {"mlx": "0.32.4"}}
HASH = "5e" * 32
TOKEN = "hf_" + "aB3" * 11


def summary(right: int, low: float, high: float, kinds: dict[str, int]) -> dict[str, Any]:
    shares = {"accuracy": right / 4, "score": right / 4, "interval": [low, high], "right": right, "kinds": kinds}
    habits = {"formatted": 0.9, "stopped": 0.93, "mean_tokens": 41.2, "repetition": 0.1}
    return {**shares, **habits, "loss_per_token": 1.5 / right, "parts": {"ROUGE-L": right / 5}}


def side(value: float | None, kind: str) -> dict[str, Any]:
    answer = {"answer": "SELECT a\nFROM t", "tokens": 9, "stopped": True, "seconds": 1.5}
    return {**answer, "value": value, "kind": kind, "reason": "4 rows, expected 3", "parts": {}, "loss": 13.6}


def spread(value: float, by: float = 0.02) -> dict[str, float]:
    return {"median": value, "min": value * (1 - by), "max": value * (1 + by)}


RATES = ("prompt", "decode", "batch_1", "batch_4", "batch_16")


def measures(factor: float) -> dict[str, Any]:
    rates = {f"{name}_tokens_per_second": spread(50 * factor) for name in RATES}
    return {"first_token_ms": spread(50 / factor), **rates}


def ratios(factor: float) -> dict[str, Any]:
    return {"first_token_ms": spread(1 / factor, 0.1), **{key: spread(factor) for key in list(measures(1))[1:]}}


def difference(base: float, tuned: float) -> dict[str, float]:
    return {
        "base": base,
        "tuned": tuned,
        "difference": tuned - base,
        "low": tuned - base - 0.1,
        "high": tuned - base + 0.1,
    }


def history() -> dict[str, Any]:
    """Three benchmarks of which the last two can be compared; writing has become slower."""
    named = {"created": "2026-11-19T12:00:00+0000", "adapter_path": "checkpoints"}
    made = [
        {
            "created": f"2026-11-{18 + number}T12:00:00+0000",
            "adapter_path": "checkpoints",
            "same_rows": number > 0,
            "same_setting": True,
            "accuracy": 0.25 * (number + 1),
            "interval": [0.25 * number, 0.25 * (number + 1.5)],
            "decode_tokens_per_second": spread(50.0 - number),
            "first_token_ms": spread(50.0 + number),
        }
        for number in range(3)
    ]
    fixed = {"scored": 4, "then": 0.5, "now": 0.75, "verdict": "no evidence", "explanation": "1 fixed, 0 broken; p = 1"}
    measures = {
        side: {
            "first_token_ms": {"then": 50.0, "now": 50.5, "changed": False},
            "decode_tokens_per_second": {"then": 50.0, "now": 45.0, "changed": side == "tuned"},
        }
        for side in ("base", "tuned", "fused")
    }
    speeds = {"runs": [6, 6], "enough": True, "measures": measures}
    answers = {**named, **fixed}
    return {"made": made, "older": 0, "left_out": ["benchmark-0.json"], "answers": answers, "speeds": named | speeds}


def records() -> dict[str, Any]:
    """The arguments of ``render``; of the five rows each has another outcome."""
    values = [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (None, None)]
    rows = [
        {
            "prompt": f"Schema:\nQuestion: question {number}",
            "question": f"question {number}",
            "reference": "SELECT b FROM t",
            "base": side(base, "wrong_rows"),
            "tuned": side(tuned, "ok"),
        }
        for number, (base, tuned) in enumerate(values)
    ]
    general = {
        "n": 126,
        "base": {"right": 73, "accuracy": 0.58, "interval": [0.49, 0.66]},
        "tuned": {"right": 66, "accuracy": 0.52, "interval": [0.44, 0.61]},
        "verdict": "no evidence",
        "explanation": "9 answers fixed, 16 broken; p = 0.23",
        "rows": [
            {"question": f"general {number}", "base": side(base, "ok"), "tuned": side(tuned, "ok")}
            for number, (base, tuned) in enumerate(values[:4])
        ],
    }
    evaluation = {
        "format": 2,
        "task": "sql",
        "metric": "execution accuracy",
        "split": "test",
        "model": "builtin",
        "adapter_path": "checkpoints",
        "against": None,
        "changes_nothing": False,
        "n": 5,
        "scored": 4,
        "unscored": {"unscorable": 1},
        "base": summary(1, 0.02, 0.61, {"ok": 1, "wrong_rows": 3}),
        "tuned": summary(3, 0.3, 0.95, {"ok": 3, "no_sql": 1}),
        "verdict": "better",
        "explanation": "3 fixed, 1 broken; p = 0.01",
        "p": 0.01,
        "fixed": 3,
        "broken": 1,
        "needed": None,
        "decided_by": "execution accuracy",
        "differences": {
            "execution accuracy": difference(0.25, 0.75),
            "loss per token": difference(1.5, 0.5),
            "ROUGE-L": difference(0.2, 0.25),
        },
        "worse_rows": [1],
        "rows": rows,
        "general": general,
    }
    times = [400.0 + 50 * number for number in range(20)]
    latency = {"p50": times[9], "p95": times[18], "p99": times[19], "all": times}
    stages = ("start", "load", "prompt", "decode", "batch of 16", "freed", "training step")
    benchmark = {
        "format": 2,
        "created": "2026-11-20T12:00:00+0000",
        "machine": MACHINE | {"chip": "a chip", "memory_gb": 8.3, "power": None},
        "device": "MLX on the CPU",
        "model": "builtin",
        "adapter_path": "checkpoints",
        "runs": 6,
        "load_seconds": 1.25,
        "speed": {"base": measures(1.0), "tuned": measures(0.9), "fused": measures(1.0)},
        "ratios": {"tuned": ratios(0.9), "fused": ratios(1.0)},
        "latency_ms": {"base": latency, "tuned": latency},
        "lengths": [
            {"tokens": 128 * n, "first_token_ms": 90.0 * n, "peak_above_weights_mb": 9.5 * n} for n in (1, 2, 4)
        ],
        "memory_mb": {
            stage: {"active": 540.0, "peak": 640.0, "cache": 10.0, "process": 900.0 + number}
            for number, stage in enumerate(stages)
        },
        "quality": evaluation,
        "history": history(),
    }
    run = {
        "format": 2,
        "config": {"lora_rank": 16, "patience": None},
        "origins": {"lora_rank": "flag", "patience": "default"},
        "task": "sql",
        "model": {"name": "builtin", "source": "builtin", "revision": HASH, "path": "/models", "fingerprint": HASH},
        "template": None,
        "template_sha256": HASH,
        "data": {"folder": "data", "source": {"source": "builtin"}, "files": {"train.jsonl": HASH}},
        "machine": MACHINE,
        "device": "MLX on the CPU",
        "command": "python train.py --lora-rank 16",
        "started": "2026-11-20T11:00:00+0000",
        "result": {
            "steps": 800,
            "best_step": 20,
            "best_valid_loss": 0.41,
            "seconds": 240.1,
            "trainable_parameters": 4884480,
            "stopped_early": True,
        },
    }
    metrics = [
        {"step": 10, "loss": 1.2, "peak_memory_mb": 2100.0},
        {"step": 20, "loss": 0.9, "peak_memory_mb": 2150.0},
        {"step": 20, "valid_loss": 0.95, "best": True},
        {"step": 30, "valid_loss": 0.99, "best": False},
    ]
    dataset = {
        "format": 1,
        "type": "sql",
        "source": {"source": "a/repository", "revision": "abc"},
        "seed": 42,
        "split_rule": "no domain is in two splits",
        "rows_read": 2003,
        "kept": 2000,
        "dropped": {"duplicate prompt": 3},
        "mended": {"blank answer": 2},
        "first_places": {"duplicate prompt": ["rows.jsonl:7"]},
        "rows": {"train": 1800, "valid": 100, "test": 100},
        "files": {"train.jsonl": HASH},
    }
    return {
        "evaluation": evaluation,
        "benchmark": benchmark,
        "run": run,
        "metrics": metrics,
        "dataset": dataset,
    }


def older() -> dict[str, Any]:
    """The same records as the first format had them."""
    given = records()
    evaluation, benchmark = given["evaluation"], given["benchmark"]
    for key in ("against", "changes_nothing", "needed", "decided_by", "differences", "worse_rows", "general"):
        del evaluation[key]
    for name in ("base", "tuned"):
        for key in ("score", "formatted", "repetition", "loss_per_token", "parts"):
            del evaluation[name][key]
        for row in evaluation["rows"]:
            del row[name]["parts"], row[name]["loss"]
    for key in ("created", "adapter_path", "load_seconds", "ratios", "latency_ms", "lengths", "memory_mb", "history"):
        del benchmark[key]
    benchmark["machine"] = MACHINE
    keys = ("prompt_tokens_per_second", "decode_tokens_per_second", "batch_tokens_per_second", "peak_memory_mb")
    benchmark["speed"] = {
        name: {"load_seconds": spread(1.2), **{key: spread(50 * factor) for key in keys}}
        for name, factor in (("base", 1.0), ("tuned", 0.9))
    }
    for key in ("mended", "first_places"):
        del given["dataset"][key]
    del given["run"]["started"], given["run"]["model"]["fingerprint"]
    for record in (evaluation, benchmark, given["run"]):
        record["format"] = 1
    return given


FREE_KEYS = ("kinds", "unscored", "versions", "config", "origins", "source", "dropped", "files", "differences", "parts")
FREE_KEYS += ("mended", "first_places")
OURS = ("better", "no evidence", "test", "default", "loss per token")  # words that the page decides by


def spoilt(value: Any, attack: str, free: bool = False) -> Any:
    """The records with the attack in every text, and in every key that is not ours."""
    if isinstance(value, str):
        return value if value in OURS else attack + value
    if isinstance(value, dict):
        return {
            attack + key if free and key not in OURS else key: spoilt(item, attack, key in FREE_KEYS)
            for key, item in value.items()
        }
    return [spoilt(item, attack) for item in value] if isinstance(value, list) else value
