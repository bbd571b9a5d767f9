"""What a training run starts from: rows, model, tokenizer. Whatever is wrong with them is found here, before any work."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.errors import UserError, shell_command, shortened
from finetune.methods import METHODS
from finetune.models import config_files, new_tokens, thinking
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import (
    Encode,
    TrainingRow,
    encode_rows,
    examples_of,
    rewritten,
    turns_of,
    whole_conversations,
)
from finetune.models.find import ModelFolder, find_model
from finetune.models.loss_mask import Example
from finetune.models.templates import find_template
from finetune.models.turns import has_thinking
from finetune.records import files
from finetune.records.dataset import DatasetRecord, Pieces, Turns, read_dataset_record, read_split
from finetune.records.run import read_run
from finetune.settings.config import TrainingConfig
from finetune.terminal import counted, say

Rows = dict[str, list[tuple[int, files.Row]]]  # of each split, with their line numbers


@dataclass(frozen=True)
class Inputs:
    dataset: DatasetRecord  # the record that dataset.py wrote
    folder: ModelFolder
    encoder: ChatEncoder
    train: list[TrainingRow]
    valid: list[TrainingRow]
    too_long: int  # training rows that were skipped
    rows: int  # that the training rows are examples of: more, if the chat template rewrites turns
    turns: Turns | None  # of the assistant in the training rows; None if a method learns only the last one
    thinking: str | None  # how the template shows the thinking of the rows; None if they have none


def read_rows(config: TrainingConfig, columns: Sequence[str] = ()) -> tuple[DatasetRecord, Rows]:
    """The record of the rows, and the rows of train and valid. UserError if they are not the ones that dataset.py checked, or
    if one lacks a field of ``columns``, which the method needs."""
    dataset = read_dataset_record(config.data_dir)
    if config.dataset_type not in (None, dataset.type):
        raise UserError(
            f"--dataset-type: {config.data_dir} holds {dataset.type} rows, not {config.dataset_type} (omit it, or name other"
            " rows with --data-dir)"
        )
    if dataset.pieces and config.method != "sft":
        raise UserError(
            f"--method {config.method}: {config.data_dir} holds plain text, which has no prompts and no answers"
            " (use --method sft)"
        )
    rows = {
        split: read_split(config.data_dir, split, dataset, may_be_empty=split == "valid")
        for split in ("train", "valid")
    }
    for split, of_split in rows.items():
        for line, row in of_split:
            for column in columns:
                if not isinstance(row.get(column), str):
                    raise UserError(
                        f"{files.split_file(config.data_dir, split)}:{line}: no field {column!r}, which --method"
                        f" {config.method} needs (make pairs: python dataset.py --type preference --dataset-name"
                        " YOUR_PAIRS; or, of a trained model's own answers, --from-adapter ADAPTERS instead)"
                    )
    return dataset, rows


def read_inputs(
    config: TrainingConfig,
    encode: Encode = whole_conversations,
    columns: Sequence[str] = (),
    *,
    weights: bool = True,
) -> Inputs:
    """Rows, model folder and tokenizer that ``config`` names; ``encode`` makes examples of a row's messages.

    With ``weights`` False the model's weights can be missing, and are not downloaded. UserError if anything is wrong.
    """
    dataset, rows = read_rows(config, columns)
    template = find_template(config.template)
    folder = find_model(config.model, say, weights=weights)
    now = read_run(config.adapter_path).began if config.resume else None
    chats, added = dataset.pieces is None, tokens_added(config)
    encoder = ChatEncoder(folder.path, template, name=folder.name, chats=chats, now=now, added=added)
    if dataset.pieces:
        _check_pieces(dataset.pieces, encoder, config)
    if any(has_thinking(Conversation.of(row)) for of_split in rows.values() for _, row in of_split):
        encoder.ask_for_thinking()
    train, valid = (_encoded(encoder, rows[split], split, config, encode) for split in ("train", "valid"))
    if dataset.pieces is None:
        for note in encoder.notes:
            say(f"Note: {note}")
        _tell_default_system(encoder, rows)
        if encoder.frozen_date:
            say(f"Note: the chat template writes the date; this run keeps {encoder.frozen_date}, later stages too.")
    if encoder.new_tokens and not METHODS[config.method].rollouts:
        for line in new_tokens.described(encoder.new_tokens, examples_of(train)):
            say(line)
    _check_vocabulary(folder, encoder, examples_of([*train, *valid]))
    _check_length(config, folder, [*train, *valid])
    turns = _turns(train, files.split_file(config.data_dir, "train"))
    thinks = any("reasoning_content" in message for row in train for message in Conversation.of(row.fields).messages)
    way = encoder.thinking_way if thinks else None
    if way and (said := thinking.told(way)):
        say(f"Note: {said}.")
    kept, too_long = len(train), len(rows["train"]) - len(train)
    if encode is whole_conversations:
        train, valid = ([*_single(of_split)] for of_split in (train, valid))
    return Inputs(dataset, folder, encoder, train, valid, too_long, kept, turns, way)


def tokens_added(config: TrainingConfig) -> dict[str, str]:
    """New tokens, each with its place: those of the file, or of the run that is resumed or continued."""
    if config.add_tokens and (not config.resume or config.add_tokens.exists()):
        return new_tokens.read(config.add_tokens)
    run = config.adapter_path if config.resume else config.from_adapter
    return dict.fromkeys(read_run(run).new_tokens, f"{run / files.RUN_RECORD}: new_tokens") if run else {}


def _tell_default_system(encoder: ChatEncoder, rows: Rows) -> None:
    """Say what the template writes into rows without a system message."""
    own = [row for of_split in rows.values() for _, row in of_split]
    conversations = [found for row in own if (found := Conversation.of(row)).messages[0]["role"] != "system"]
    if without := sum(bool(encoder.default_system(tools=bool(one.tools))) for one in conversations):
        say(
            f"Note: {without} of {counted(len(own), 'row')} have no system message, and the chat template writes"
            f" {shortened(encoder.default_system(), 80)!r} there; so it does later (dataset.py --system TEXT gives another)."
        )


def _single(rows: Sequence[TrainingRow]) -> Iterator[TrainingRow]:
    """Each example as a row: how long a batch gets depends on the longest example, not on how many turns a row has."""
    for row in rows:
        yield from (row if len(row.examples) == 1 else replace(row, examples=(one,)) for one in row.examples)


def _turns(rows: Sequence[TrainingRow], path: Path) -> Turns | None:
    """How many turns of the assistant are learned; how many of them the chat template rewrites is printed."""
    if not any(example.turns for example in examples_of(rows)):
        return None
    turns = sum((turns_of(Conversation.of(row.fields).messages, row.examples) for row in rows), Turns())
    if turns.rewritten:
        say(f"Turns of the assistant in {path}: {turns.assistant:,}, {rewritten(turns.rewritten)}.")
    return turns


def _check_pieces(pieces: Pieces, encoder: ChatEncoder, config: TrainingConfig) -> None:
    """UserError if documents were cut for another tokenizer, or into longer pieces than are trained on."""
    again = "cut them again: python dataset.py --type text --dataset-name DOCUMENTS"
    if pieces.tokenizer_sha256 != encoder.base.plain.fingerprint:
        model = shell_command("--model", pieces.model)
        raise UserError(
            f"--model: the documents in {config.data_dir} were cut for the tokenizer of {pieces.model}, and that of"
            f" {encoder.name} is another (train with {model}, or {again} {shell_command('--model', encoder.name)})"
        )
    if config.max_seq_length < pieces.max_seq_length:
        raise UserError(
            f"--max-seq-length {config.max_seq_length}: the pieces in {config.data_dir} have up to"
            f" {pieces.max_seq_length} tokens (train with --max-seq-length {pieces.max_seq_length}, or {again}"
            f" --max-seq-length {config.max_seq_length})"
        )


def _check_vocabulary(folder: ModelFolder, encoder: ChatEncoder, examples: list[Example]) -> None:
    """UserError if a token id exceeds the model's vocabulary: MLX would read past the end of the embedding."""
    config = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    known = (config.get("text_config") or config).get("vocab_size", math.inf)
    new = encoder.new_tokens.ids if encoder.new_tokens else ()
    highest = max(max((token for token in example.tokens if token not in new), default=0) for example in examples)
    if highest >= known:
        raise UserError(
            f"{folder.name}: tokenizer and model do not match: token id {highest}, vocabulary size {known}"
            " (use the tokenizer that ships with the model)"
        )


def _check_length(config: TrainingConfig, folder: ModelFolder, rows: Sequence[TrainingRow]) -> None:
    """UserError if the model has fewer positions than the rows, or than ``--max-seq-length`` if it was given; a note if it can
    compute beyond those that it was made for."""
    known = config_files.positions(folder.path)
    if known is None:
        return
    sampled = config.grpo_max_tokens if METHODS[config.method].rollouts else 0
    longest = max(row.tokens for row in rows) + sampled
    # what a run to resume has recorded was checked when it began, or was nobody's choice
    given = config.origins.get("max_seq_length", "default") != "default" and not config.resume
    if given and config.max_seq_length > max(known.count, longest):
        what = f"--max-seq-length {config.max_seq_length}"
    elif longest > known.count:
        what = f"the longest row has {longest - sampled} tokens{f', its sampled answer up to {sampled}' if sampled else ''}"
    else:
        return
    if not known.table:
        say(f"Note: {what}, and {folder.name} was made for {known.count} tokens.")
        return
    remedy = (
        f"use --max-seq-length {max(8, known.count - sampled)}" if sampled < known.count else "lower --grpo-max-tokens"
    )
    raise UserError(f"{folder.name}: {what}, and the model has a table of {known.count} positions ({remedy})")


def _encoded(
    encoder: ChatEncoder, rows: Sequence[tuple[int, files.Row]], split: str, config: TrainingConfig, encode: Encode
) -> list[TrainingRow]:
    """The rows of a split that are not too long; how many are skipped is printed."""
    path = files.split_file(config.data_dir, split)
    found, too_long = encode_rows(encoder, rows, path, config.max_seq_length, encode)
    if too_long:
        say(
            f"Skipped: {len(too_long)} of {len(rows)} rows of {path} with more than {config.max_seq_length} tokens"
            f" (the first on line {too_long[0]}; --max-seq-length)"
        )
    return found
