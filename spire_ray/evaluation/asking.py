"""A shard of a test set and a system → its answers to every task."""

from collections.abc import Mapping, Sequence
from typing import Any

from spire_ray.evaluation import hypotheses, planned
from spire_ray.evaluation.systems import SYSTEMS, Answer, System
from spire_ray.evaluation.tasks import TASKS, Question, Request, chain, in_order
from spire_ray.evaluation.test_set import Row
from spire_ray.settings import EvaluatedModel
from spire_ray.shards.shard import Shard


def tasks_of(model: EvaluatedModel) -> list[str]:
    """What a model is asked, in order: its tasks and what comes before them."""
    return in_order(model.tasks, ("asr",) if model.transcripts else ())


def ask(system: System, model: EvaluatedModel, tasks: Sequence[str], target: str, shard: Shard, folder: str) -> None:
    """Ask a system some tasks of a model, in order, about the rows of a shard; the answers to each are written at once."""
    rows = planned.read(shard)
    for task in tasks:
        earlier: dict[str, dict[str, Any]] = {}
        if before := TASKS[task].after:
            maker = model.transcripts or model.name
            earlier = {row["utt_id"]: row for row in hypotheses.read(folder, maker, before, shard.shard)}
        later = [other for other in model.tasks if task in chain(other)]
        made = _asked(system, task, later, SYSTEMS[model.system].hears, target, rows, earlier)
        hypotheses.write(folder, model.name, task, shard, made)


def _asked(
    system: System, name: str, later: Sequence[str], hears: str, target: str, rows: Sequence[Row],
    earlier: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    """A row of `hypotheses.SCHEMA` for each row. One that no task of `later` can use, itself among them, is not asked."""
    task = TASKS[name]
    why: dict[int, str] = {}
    requests = {}
    for number, row in enumerate(rows):
        before = earlier.get(row.utt_id, {})
        if (lacks := task.lacks(row, hears, reference=False)) or (lacks := _unused(row, later, hears)):
            why[number] = lacks
        elif before.get("error"):
            own = before["error"].startswith(hypotheses.NOT_ASKED)  # what the row lacks, not a failure of the system
            why[number] = before["error"] if own else f"{task.after}: {before['error']}"
        else:
            requests[number] = task.request(Question(row, target, before.get("hypothesis") or ""))
    answers = _answers(system, requests)
    asked = {number: system.asked(request) for number, request in requests.items()}
    return [
        _row(name, asked.get(number, ""), row, target, answers.get(number) or Answer(error=why[number]))
        for number, row in enumerate(rows)
    ]


def _answers(system: System, requests: Mapping[int, Request]) -> dict[int, Answer]:
    """Answers by row. Where asking together fails each is asked alone, and one that fails then has the reason.

    Raises what the system raises where all of several fail, which is no fault of a row.
    """
    try:
        return dict(zip(requests, system.answer(list(requests.values())), strict=True))
    except Exception as together:
        found: dict[int, Answer] = {}
        for number, request in requests.items():
            try:
                [found[number]] = system.answer([request])
            except Exception as error:
                found[number] = Answer(error=f"{type(error).__name__}: {error}")
        if len(found) > 1 and all(answer.error for answer in found.values()):
            raise together
        return found


def _unused(row: Row, later: Sequence[str], hears: str) -> str:
    """Why no task could use the answer about a row: what the first one lacks; empty where one can."""
    lacking = [TASKS[name].lacks(row, hears) for name in later]
    return lacking[0] if lacking and all(lacking) else ""


def _row(name: str, prompt: str, row: Row, target: str, answer: Answer) -> dict[str, Any]:
    task = TASKS[name]
    back = task.reference == "text" and "translation" in task.needs
    into_own = task.reference != "translation"
    return {
        "utt_id": row.utt_id,
        "task": name,
        "prompt": prompt,
        "source": target if back else row.language,
        "target": row.language if into_own else target,
        "text": row.translation if into_own else row.text,
        "reference": getattr(row, task.reference),
        "hypothesis": None if answer.error else answer.text,
        "error": answer.error or None,
        "tokens": answer.tokens,
        "seconds": answer.seconds,
        "duration": row.duration,
        "corpus": row.corpus,
        "speaker": row.speaker,
    }
