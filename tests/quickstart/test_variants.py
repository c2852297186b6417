"""The ablation: what SpireFull has beyond each of its controls."""

import itertools

from spire_ray.quickstart import variants

RESULTS = {
    f"{model}.{measure}": float(10 * place + number)
    for (place, model), (number, measure) in itertools.product(enumerate(variants.VARIANTS), enumerate(variants.MEASURES))
    if model != "cpt" or not measure.startswith("st")
}


def test_the_gain_of_each_part_is_spirefull_less_its_control():
    compared = variants.compared(RESULTS)
    text = variants.table(compared).splitlines()
    lines = {line.split()[0]: line.split()[-len(variants.MEASURES) :] for line in text[-3:]}
    assert lines == {"CPT": ["-10.0"] * 5, "pseudo-ST": ["-20.0"] * 5, "text": ["-30.0"] * 5}


def test_a_base_model_that_was_not_asked_to_translate_has_empty_cells():
    assert set(variants.compared(RESULTS)["SpireBase"]) == {"asr.wer", "mt.bleu", "mt_reverse.bleu"}


def test_without_all_variants_there_is_no_ablation():
    assert variants.compared({"it.asr.wer": 3.0}) == {}


def test_the_plot_is_a_png():
    assert variants.plot(variants.compared(RESULTS)).startswith(b"\x89PNG")
