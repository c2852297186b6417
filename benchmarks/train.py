"""Tokens per second of training on rows of instruction tuning: ours against a Hugging Face Trainer, the gain by part.

    python benchmarks/train.py                                  # 4 layers of d = 256, V = 37,056, on one CPU core
    python benchmarks/train.py --only bare deepspeed ray --output benchmarks/results/train_overhead.json
    python benchmarks/train.py --shape configs/shapes/llama-2-7b.json --sequence-length 4096 --dtype bfloat16   # one GPU

Ways, each a process of its own on the same documents for `--seconds`; only tokens that are no padding are counted:
`trainer` is transformers.Trainer as its documentation advises (padded to the longest of a batch, grouped by length); it
needs accelerate. The next four are one PyTorch loop that takes up our measures one by one: `padded` rows with all logits,
`packed` rows with all logits, `counted` makes the logits of counted targets alone, `bare` attends document by document.
`deepspeed` is the engine that the jobs use, `ray` the same engine as a worker of Ray Train, with the CPU-seconds of the
whole cluster. CPUs are compared by CPU-seconds, GPUs by wall clock. What is measured begins after the start and a warm-up.
Ways with the same batches tell how far their losses at the end of the warm-up are apart. Results go to `--output`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
WAYS = ("trainer", "padded", "packed", "counted", "bare", "deepspeed", "ray")
SAME_BATCHES = WAYS[2:]
SMALL = {
    "model_type": "llama",
    "vocab_size": 37_056,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
}
RATE = 1e-4
NEW_ROWS = 5_056
"""Of the vocabulary, which `lora` trains beside its adapters."""


def documents(number: int, longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and counted mask: seven in ten are speech (35 units a second, 2 to 20 s) with a transcript or translation."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(number):
        speech = draw.random() < 0.7
        prompt = int(35 * np.clip(draw.lognormal(1.6, 0.6), 2, 20)) + 20 if speech else int(draw.integers(30, 300))
        answer = max(4, prompt // 10 if speech else int(draw.integers(20, 200)))
        length = min(prompt + answer, longest)
        ids = draw.integers(10, 37_000, length)
        made.append((ids, np.arange(length) >= length - min(answer, length - 1)))
    return made


def build(options: argparse.Namespace) -> Any:
    """A model of the shape with seeded random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    data = json.loads(Path(options.shape).read_text()) if options.shape else dict(SMALL)
    torch.manual_seed(0)
    config = AutoConfig.for_model(data.pop("model_type"), **data)
    with torch.device(_device()):
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype))


def measured(
    step: Callable[[], tuple[int, float]], options: argparse.Namespace, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Tokens per second of `step`, which returns its tokens and its loss; `clock` counts CPU-seconds."""
    for _ in range(options.warmup):
        loss = step()[1]
    _wait()
    elapsed = time.perf_counter if _device() == "cuda" else clock
    wall, spent, began, tokens, steps = time.perf_counter(), clock(), elapsed(), 0, 0
    while elapsed() - began < options.seconds:
        tokens += step()[0]
        steps += 1
    _wait()
    return _result(tokens, steps, time.perf_counter() - wall, clock() - spent, loss)


def _result(tokens: int, steps: int, wall: float, spent: float, loss: float) -> dict[str, float]:
    import torch

    gpu = _device() == "cuda"
    memory = {"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if gpu else {}
    speed = tokens / (wall if gpu else spent)
    return {"tokens": tokens, "steps": steps, "wall_s": wall, "cpu_s": spent, "tokens_per_s": speed, "loss": loss, **memory}


def _wait() -> None:
    import torch

    if _device() == "cuda":
        torch.cuda.synchronize()


def loop(way: str, options: argparse.Namespace) -> dict[str, float]:
    """One PyTorch loop with the measures of `way`."""
    import torch

    from spire_ray.settings import TrainingSettings
    from spire_ray.training import attention, trainable
    from spire_ray.training.loss import PackedLoss

    model = build(options).train()
    training = TrainingSettings(
        steps=1, global_batch_size=1, gradient_checkpointing=options.checkpointing, compile=options.compile
    )
    trainable.prepare(model, training, model.config.vocab_size)
    loss = PackedLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=_device() == "cuda" or None)
    if way == "bare":
        (attention.use_varlen if _device() == "cuda" else attention.on_cpu)(model)
    batches = padded_batches(options) if way == "padded" else packed_batches(options)

    def summed(batch: Any) -> torch.Tensor:
        if way in ("counted", "bare"):
            return loss(batch.to(model.device))
        if way == "packed":
            return _all_logits(model, batch.to(model.device))
        given = {name: tensor.to(model.device) for name, tensor in batch.items()}
        mean: torch.Tensor = model(**given).loss
        return mean * _counted(batch)

    def step() -> tuple[int, float]:
        taken = list(islice(batches, options.micro_batches))
        counted = sum(_counted(batch) for batch, _ in taken)
        total = 0.0
        for batch, _ in taken:
            value = summed(batch) / counted
            value.backward()
            total += float(value.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return sum(tokens for _, tokens in taken), total

    return measured(step, options)


def engine(options: argparse.Namespace, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """The engine of the jobs, ZeRO-1, on one worker."""
    import torch.distributed as dist

    from spire_ray.settings import OptimizerSettings, TrainingSettings
    from spire_ray.training.engine import Engine, configuration

    os.environ.setdefault("LOCAL_RANK", "0")
    if _device() == "cpu":
        os.environ |= {"DS_ACCELERATOR": "cpu", "TORCHDYNAMO_DISABLE": "1"}
    if not dist.is_initialized():
        store = dist.FileStore(tempfile.mktemp(), 1)
        dist.init_process_group("nccl" if _device() == "cuda" else "gloo", store=store, rank=0, world_size=1)
    zero = {"zero_optimization": {"stage": 1, "overlap_comm": False}, "bf16": {"enabled": options.dtype == "bfloat16"}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(zero))
        file.flush()
        training = TrainingSettings(
            steps=1,
            global_batch_size=options.rows * options.micro_batches,
            micro_batch_size=options.rows,
            optimizer=OptimizerSettings(lr=RATE, clip=1.0),
            gradient_checkpointing=options.checkpointing,
            compile=options.compile,
            trainable=options.trainable,
        )
        ds_config = configuration(file.name, training, training.global_batch_size, 1)
    model = build(options)
    worker = Engine(model, training, ds_config, model.config.vocab_size - NEW_ROWS)
    batches = packed_batches(options)

    def step() -> tuple[int, float]:
        taken = list(islice(batches, options.micro_batches))
        counted = sum(_counted(batch) for batch, _ in taken)
        loss, _ = worker.step([batch for batch, _ in taken], [1 / counted] * len(taken), 1.0)
        return sum(tokens for _, tokens in taken), loss

    return measured(step, options, clock)


def on_ray(options: argparse.Namespace) -> dict[str, float]:
    """The same engine as the one worker of a Ray Train job, on a cluster of this process."""
    import cpu
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from spire_ray.runtime import cluster

    driver, gpu = os.getpid(), _device() == "cuda"
    cluster.connect()
    cluster.ready_for_ray_train()
    result = TorchTrainer(
        lambda: engine(options, lambda: cpu.of_tree(driver)),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=1, use_gpu=gpu),
        run_config=RunConfig(storage_path=tempfile.mkdtemp()),
    ).fit()
    found: dict[str, float] = result.return_value
    return found


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
                start, clock = times[options.warmup - 1], 0 if _device() == "cuda" else 1
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
        use_cpu=_device() == "cpu",
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
    return _result(t1 - t0, len(times) - options.warmup, w1 - w0, c1 - c0, float("nan"))


def packed_batches(options: argparse.Namespace) -> Iterator[tuple[Any, int]]:
    """Batches of full rows, without end, and their tokens."""
    from spire_ray.packs.pack import Row
    from spire_ray.packs.packing import best_fit
    from spire_ray.training.batch import collate

    given = documents(options.documents, options.sequence_length)
    rows = []
    for chosen in best_fit([len(ids) for ids, _ in given], options.sequence_length):
        ids, counted = np.zeros(options.sequence_length, np.int64), np.zeros(options.sequence_length, bool)
        lengths = np.array([len(given[i][0]) for i in chosen])
        ids[: lengths.sum()] = np.concatenate([given[i][0] for i in chosen])
        counted[: lengths.sum()] = np.concatenate([given[i][1] for i in chosen])
        rows.append(Row(ids, counted, lengths))
    np.random.default_rng(1).shuffle(rows)  # type: ignore[arg-type]
    while True:
        for start in range(0, len(rows) - options.rows + 1, options.rows):
            chosen_rows = rows[start : start + options.rows]
            yield collate(chosen_rows), int(sum(row.lengths.sum() for row in chosen_rows))


def padded_batches(options: argparse.Namespace) -> Iterator[tuple[Any, int]]:
    """Batches padded to their longest document, neighbours in length together, without end."""
    import torch

    given = sorted(documents(options.documents, options.sequence_length), key=lambda pair: len(pair[0]))
    size = options.batch_documents
    order = np.random.default_rng(1).permutation(len(given) // size)
    while True:
        for place in order:
            chosen = given[place * size : (place + 1) * size]
            longest = max(len(ids) for ids, _ in chosen)
            ids, mask = np.zeros((size, longest), np.int64), np.zeros((size, longest), np.int64)
            labels = np.full((size, longest), -100)
            for row, (one, counted) in enumerate(chosen):
                ids[row, : len(one)], mask[row, : len(one)] = one, 1
                labels[row, : len(one)] = np.where(counted, one, -100)
            tensors = {"input_ids": ids, "attention_mask": mask, "labels": labels}
            yield {name: torch.from_numpy(array) for name, array in tensors.items()}, int(mask.sum())


def _all_logits(model: Any, batch: Any) -> Any:
    import torch

    logits = model(**batch.masked(), use_cache=False).logits.flatten(0, 1)
    labels = torch.full((logits.shape[0],), -100, device=logits.device)
    labels[batch.targets - 1] = batch.input_ids.view(-1)[batch.targets]
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")


def _counted(batch: Any) -> int:
    """Targets of a batch, packed or padded."""
    return int((batch["labels"][:, 1:] != -100).sum()) if isinstance(batch, dict) else len(batch.targets)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    """Run each way in a process of its own, in turn, `repeats` times; print and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--shape", default="", help="config.json; empty: the small model")
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=2, help="packed rows of a micro-batch")
    parser.add_argument("--batch-documents", type=int, default=8, help="padded documents of a micro-batch")
    parser.add_argument("--micro-batches", type=int, default=4, help="of a step")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--checkpointing", choices=("none", "selective", "full"), default="none")
    parser.add_argument("--trainable", choices=("full", "lora"), default="full", help="of the engine")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--warmup", type=int, default=2, help="steps")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run, CPU-seconds on a CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "train.json"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        run = {"trainer": trainer, "deepspeed": engine, "ray": on_ray}.get(options.way)
        print("RESULT", json.dumps(run(options) if run else loop(options.way, options)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.only}
    given, environment = sys.argv[1:], os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(options.repeats):
        for way in options.only:
            command = [sys.executable, __file__, *given, "--way", way]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
            if line is None:
                sys.exit(f"{way} failed:\n{done.stderr[-2000:]}")
            found[way].append(json.loads(line.removeprefix("RESULT ")))
    report(found, options)


def report(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print medians, spread and ratios, and write them with what they were measured on."""
    ways: dict[str, Any] = {}
    before = ""
    for way, runs in found.items():
        speeds = sorted(run["tokens_per_s"] for run in runs)
        median = float(np.median(speeds))
        ratios = {to: median / ways[to]["median"] for to in (options.only[0], before) if to in ways}
        ways[way] = {"median": median, "min": speeds[0], "max": speeds[-1], "ratio": ratios, "runs": runs}
        told = ", ".join(f"× {ratio:.2f} of {to}" for to, ratio in ratios.items())
        print(f"{way:>10}  {median:>7,.0f} tokens/s  ({speeds[0]:,.0f} – {speeds[-1]:,.0f})  {told}")
        before = way
    losses = [run["loss"] for way in SAME_BATCHES for run in found.get(way, ())]
    agreement = max(losses) / min(losses) - 1 if losses else None
    print(f"losses at the end of the warm-up, same batches: {agreement:.1e} apart" if losses else "")
    written = {
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "load": os.getloadavg()},
        "versions": {name: version(name) for name in ("torch", "transformers", "deepspeed", "ray")},
        "options": vars(options),
        "agreement": agreement,
        "ways": ways,
    }
    Path(options.output).write_text(json.dumps(written, indent=2) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
