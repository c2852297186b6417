"""Answers of three systems that err in known ways, as `generate` writes them, and their scores."""

import numpy as np

from spire_ray import cli
from spire_ray.evaluation import hypotheses
from spire_ray.shards import planning
from spire_ray.shards.shard import Shard

_ENGLISH = "the old man saw a red house near our river and then my sister came home with some good bread for us"
_GERMAN = "der alte Mann sah ein rotes Haus an unserem Fluss und dann kam meine Schwester mit gutem Brot nach Hause"
WORDS, GERMAN = _ENGLISH.split(), _GERMAN.split()


def spoiled(words, draw, rate):
    """Words of which some are lost, some are said twice and some are others."""
    made = []
    for word in words:
        luck = draw.random()
        made += [] if luck < rate / 3 else [word, word] if luck < rate / 2 else ["other"] if luck < rate else [word]
    return " ".join(made)


def row(number, task, draw, rate, languages, failed=False):
    source, target = languages
    length = int(draw.integers(4, 18))
    words = [WORDS, GERMAN][task != "asr"]
    reference = " ".join(draw.choice(words, length))
    return {
        "utt_id": f"clip-{number:04d}", "task": task, "prompt": "", "source": source, "target": target,
        "text": " ".join(draw.choice(WORDS, length)), "reference": reference,
        "hypothesis": None if failed else spoiled(reference.split(), draw, rate * (1 + length / 20)),
        "error": "prompt too long: 900 tokens of 512" if failed else None, "tokens": length, "seconds": 0.01,
        "duration": length * 0.4, "corpus": ("talks", "letters")[number % 2], "speaker": f"speaker-{number % 7}",
    }  # fmt: skip


SYSTEMS = {
    "whisper-small": {"asr": 0.06},
    "spire": {"asr": 0.14, "st_direct": 0.34, "st_cascade": 0.28, "st_gold": 0.15},
    "whisper + tower": {"st_cascade": 0.2},
    "seamless": {"asr": 0.15, "st_direct": 0.22},
}


def results(folder, seed=0, rows=160, protocol="", test_set="talks", languages=("en", "de")):
    """A folder of answers and one of their scores; the latter."""
    tasks = {name.replace(" ", ""): list(given) for name, given in SYSTEMS.items()}
    whole = Shard(0, f"{folder}/answers/rows", 0, rows)
    planning.write(f"{folder}/answers", [whole])
    hypotheses.begin(f"{folder}/answers", tasks, protocol=protocol, test_set=test_set)
    for name, given in SYSTEMS.items():
        for task, rate in given.items():
            noise = np.random.default_rng(sum(map(ord, name + task)))
            said = []
            for n in range(rows):
                pair = languages if task != "asr" else languages[:1] * 2
                made = row(n, task, np.random.default_rng([seed, n]), 0, pair, failed=name == "seamless" and n == 5)
                if made["hypothesis"] is not None:
                    length = len(made["reference"].split())
                    made["hypothesis"] = spoiled(made["reference"].split(), noise, rate * (1 + length / 20))
                said.append(made)
            hypotheses.write(f"{folder}/answers", name.replace(" ", ""), task, whole, said)
    config = (
        f"{{stage: score, hypotheses: {folder}/answers, output: {folder}/scores, bootstrap: 200, tracking: {{enabled: false}}}}"
    )
    assert cli.main(["score", "--config", config, "tracking.enabled=false", "metrics=[wer, bleu, chrf]"]) == 0
    return f"{folder}/scores"
