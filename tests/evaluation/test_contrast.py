"""One of two translations is chosen by its probability, as PyTorch alone finds it, whatever their order; others are left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spire_ray.evaluation import checks, test_set
from spire_ray.evaluation.metrics import METRICS, Scored
from spire_ray.evaluation.systems.llm import LanguageModel
from spire_ray.evaluation.tasks import TASKS, Question
from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.settings import EvaluatedModel, EvaluateSettings
from spire_ray.text.languages import language

ROW = test_set.Row(
    utt_id="a",
    language="en",
    text="the dog",
    translation="der Hund",
    contrast="der Hund der Hund",
    units=np.array([1, 2, 3], np.uint16),
)


def by_hand(generator, prompt, answer):
    """Sum of log-probabilities from the logits of transformers, all ids after those of the prompt."""
    tokenizer = generator.tokenizer
    [asked] = tokenizer.asked([prompt])
    rest = tokenizer.text.encode(f"{answer}<|im_end|>" if prompt[-1].control else f" {answer}", add_special_tokens=False).ids
    ids = torch.tensor([[*asked.tolist(), *rest, *([] if prompt[-1].control else [tokenizer.end])]])
    with torch.no_grad():
        logprobs = generator.engine.weights.model(input_ids=ids).logits[0].float().log_softmax(-1)
    return float(logprobs[len(asked) - 1 : -1].gather(1, ids[0, len(asked) :, None]).sum())


@pytest.mark.parametrize("form", ["it", "cpt"])
@pytest.mark.parametrize("task", ["contrast_direct", "contrast_gold"])
def test_the_likelier_one_is_the_answer_in_either_order(tiny_model, task, form):
    generator = HuggingFaceGenerator(tiny_model, max_new_tokens=8)
    system = LanguageModel(generator, form)
    asked = TASKS[task].request(Question(ROW, "de"))
    prompt = system.prompt(asked)
    expected = [by_hand(generator, prompt, answer) for answer in asked.choices]
    assert generator.likelihoods(prompt, asked.choices) == pytest.approx(expected, rel=1e-4)
    likelier = asked.choices[int(expected[1] > expected[0])]
    answers = system.answer([asked, replace(asked, choices=asked.choices[::-1]), replace(asked, choices=("dog", "dog"))])
    assert [answer.text for answer in answers[:2]] == [likelier, likelier]
    assert answers[2].error == "the answers are equally likely"


def test_right_answers_are_counted():
    metric = METRICS["accuracy"].make(None, language("de"))
    numbers = np.array(metric.statistics([Scored("a", "der", "der"), Scored("b", "die", "der"), Scored("c", "das", "das")]))
    assert metric.value(numbers.sum(0)) == pytest.approx(200 / 3)


def test_who_cannot_choose_is_refused_and_a_row_without_a_contrast_is_left_out():
    model = EvaluatedModel(name="w", system="whisper", model="w", tasks=("contrast_direct",))
    with pytest.raises(ValueError, match=r"models\.w\.tasks: contrast_direct is nothing for whisper"):
        checks.models(EvaluateSettings(output="", data="d", models=(model,)))
    assert TASKS["contrast_cascade"].lacks(replace(ROW, contrast="")) == "no contrast"
    assert TASKS["contrast_direct"].lacks(ROW) == ""
