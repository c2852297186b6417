"""A shard of a test set and a model → its answers to every task."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spire_ray.evaluation import hypotheses
from spire_ray.evaluation.tasks import TASKS, Question, Task, chain, in_order
from spire_ray.evaluation.test_set import Row
from spire_ray.text.record import Form

if TYPE_CHECKING:
    from spire_ray.inference.generate import HuggingFaceGenerator
    from spire_ray.text.prompts import Span


@dataclass(frozen=True)
class Answer:
    """What came of one prompt: a text, or why there is none."""

    text: str = ""
    error: str = ""
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Shard:
    """Rows that are asked about together."""

    number: int
    rows: tuple[Row, ...]


def ask(
    generator: "HuggingFaceGenerator", name: str, tasks: Sequence[str], form: Form | None, target: str, shard: Shard, folder: str,
    batch_size: int,
) -> None:  # fmt: skip
    """Ask the model `name` every task that the output folder has no answers to, and write each as it is done."""
    for task in in_order(tasks):
        if shard.number in hypotheses.done(folder, name, task):
            continue
        before = TASKS[task].after
        earlier = {row["utt_id"]: row for row in hypotheses.read(folder, name, before, shard.number)} if before else {}
        later = [other for other in tasks if task in chain(other)]
        rows = _asked(generator, task, later, form, target, shard.rows, earlier, batch_size)
        hypotheses.write(folder, name, task, shard.number, rows)


def question(task: Task, generator: "HuggingFaceGenerator", form: Form | None, row: Row, target: str, earlier: str) -> Question:
    """A row as it is put to a model: in the task's form, else in the one that is given, else in the model's own."""
    tokenizer = generator.tokenizer
    return Question(tokenizer, task.form or form or tokenizer.record.form, row, target, earlier)


def _asked(
    generator: "HuggingFaceGenerator", name: str, later: Sequence[str], form: Form | None, target: str, rows: Sequence[Row],
    earlier: dict[str, dict[str, Any]], batch_size: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row of `hypotheses.SCHEMA` for each row. One that no task of `later` can use, itself among them, is not asked."""
    task = TASKS[name]
    why: dict[int, str] = {}
    prompts: dict[int, list[Span]] = {}
    for number, row in enumerate(rows):
        before = earlier.get(row.utt_id, {})
        if (lacks := task.lacks(row, reference=False)) or (lacks := _unused(row, later)):
            why[number] = lacks
        elif before.get("error"):
            why[number] = f"{task.after}: {before['error']}"
        else:
            asked = question(task, generator, form, row, target, before.get("hypothesis", ""))
            prompts[number] = task.prompt(asked)
    answers = dict(zip(prompts, answered(generator, list(prompts.values()), batch_size), strict=True))
    record = generator.tokenizer.record
    prompt = f"{record.prompts} {task.form or form or record.form}"
    return [_row(name, prompt, row, target, answers.get(number) or Answer(error=why[number])) for number, row in enumerate(rows)]


def _unused(row: Row, later: Sequence[str]) -> str:
    """Why no task could use the answer about a row: what the first one lacks; empty where one can."""
    lacking = [TASKS[name].lacks(row) for name in later]
    return lacking[0] if lacking and all(lacking) else ""


def answered(generator: "HuggingFaceGenerator", prompts: "list[list[Span]]", batch_size: int) -> list[Answer]:
    """An answer to each prompt, cut at the end of its line. One that cannot be asked gets the reason."""
    tokenizer, most = generator.tokenizer, generator.longest_prompt
    found: dict[int, Answer] = {}
    asked = {}
    for number, (prompt, encoded) in enumerate(zip(prompts, tokenizer.attempt(prompts), strict=True)):
        if isinstance(encoded, ValueError):
            found[number] = Answer(error=str(encoded))
            continue
        ids = tokenizer.begin(encoded[0], prompt)
        if len(ids) > most:
            found[number] = Answer(error=f"prompt too long: {len(ids)} tokens of {most}")
        else:
            asked[number] = ids
    order = sorted(asked, key=lambda number: len(asked[number]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        began = time.monotonic()
        made = generator.continued([asked[number] for number in chosen])
        seconds = (time.monotonic() - began) / len(chosen)
        for number, answer in zip(chosen, made, strict=True):
            # a token may hold the end of a line and more, such as ".\n", and then it is no stop
            text = tokenizer.decode(answer).partition("\n")[0].strip()
            found[number] = Answer(text, tokens=len(answer), seconds=seconds)
    return [found[number] for number in range(len(prompts))]


def _row(name: str, prompt: str, row: Row, target: str, answer: Answer) -> dict[str, Any]:
    into_text = TASKS[name].reference == "text"
    return {
        "utt_id": row.utt_id,
        "task": name,
        "prompt": prompt,
        "source": target if into_text and "translation" in TASKS[name].needs else row.language,
        "target": row.language if into_text else target,
        "text": row.translation if into_text else row.text,
        "reference": row.text if into_text else row.translation,
        "hypothesis": None if answer.error else answer.text,
        "error": answer.error or None,
        "tokens": answer.tokens,
        "seconds": answer.seconds,
    }
