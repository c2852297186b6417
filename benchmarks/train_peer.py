"""The peer of `train.py`: `transformers.Trainer` as its documentation advises."""

import argparse
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.train_data import documents
from benchmarks.train_ways import RATE, build, device, result


def trainer(options: argparse.Namespace) -> dict[str, float]:
    """`transformers.Trainer` with padding to the longest of a batch, grouped by length."""
    from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

    given = documents(options.documents, options.sequence_length)
    data = [{"input_ids": ids, "labels": np.where(counted, ids, -100), "length": len(ids)} for ids, counted in given]
    from tokenizers import Tokenizer, models

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0}, "<pad>")), pad_token="<pad>")
    tokens, times = [0], []
    collate = DataCollatorForSeq2Seq(tokenizer)

    def counting(features: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(feature["input_ids"]) for feature in features))
        return collate([{"input_ids": f["input_ids"].tolist(), "labels": f["labels"].tolist()} for f in features])

    class Clock(TrainerCallback):
        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            times.append((time.perf_counter(), time.process_time(), sum(tokens)))
            if len(times) > options.warmup:
                start, clock = times[options.warmup - 1], 0 if device() == "cuda" else 1
                control.should_training_stop = times[-1][clock] - start[clock] >= options.seconds

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=options.batch_documents,
        gradient_accumulation_steps=options.micro_batches,
        max_steps=1_000_000,
        learning_rate=RATE,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        gradient_checkpointing=options.checkpointing != "none",
        bf16=options.dtype == "bfloat16",
        use_cpu=device() == "cpu",
        dataloader_num_workers=0,
        remove_unused_columns=False,
        report_to=[],
        logging_steps=10**9,
        save_strategy="no",
        disable_tqdm=True,
    )
    options.dtype = "float32"  # the Trainer's bf16 is autocast over float32 weights
    peer = Trainer(build(options), arguments, train_dataset=data, data_collator=counting, callbacks=[Clock()])
    peer.train()
    (w0, c0, t0), (w1, c1, t1) = times[options.warmup - 1], times[-1]
    return result(t1 - t0, len(times) - options.warmup, w1 - w0, c1 - c0, float("nan"))
