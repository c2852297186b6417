"""Samples of held-out documents: each is cut where its answer begins."""

import numpy as np

from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.inference.samples import markdown, samples
from spire_ray.packs.pack import Document, Pack, write
from spire_ray.text import prompts
from spire_ray.text.tokenizer import SpeechTokenizer

UNITS = np.arange(9, dtype=np.uint16)


def pack(folder, tokenizer):
    """Three documents of speech in the plain form and three of instructions."""
    cpt = prompts.completion(prompts.asr_prompt(), "the dog", UNITS)
    ((ids, _),) = tokenizer.encode([cpt])
    answered = np.arange(len(ids)) >= len(ids) - 4
    documents = [
        Document(ids, answered if number % 2 else np.ones(len(ids), bool), f"u{number}", number % 2) for number in range(6)
    ]
    write(str(folder), documents, 48, 384, 0, {"sources": [{"name": "asr.cpt"}, {"name": "asr.it"}]})
    return Pack(str(folder)), ids


def test_every_source_is_shown_and_cut_at_its_answer(tiny_model, tmp_path):
    tokenizer = SpeechTokenizer(tiny_model)
    opened, ids = pack(tmp_path, tokenizer)
    units = range(tokenizer.units.first, tokenizer.units.first + tokenizer.units.count)
    plain, instructed = samples(opened, units, 2)
    assert (plain.source, instructed.source) == ("asr.cpt", "asr.it")
    assert plain.prompt[-1] == units.start + 8
    assert len(instructed.expected) == 4
    for sample in (plain, instructed):
        assert np.concatenate([sample.prompt, sample.expected]).tolist() == ids.tolist()


def test_the_table_has_a_line_for_each_with_speech_by_its_length(tiny_model, tmp_path):
    generator = HuggingFaceGenerator(tiny_model, max_new_tokens=4)
    opened, _ = pack(tmp_path, generator.tokenizer)
    units = range(generator.tokenizer.units.first, generator.tokenizer.units.first + 20)
    lines = markdown(generator, samples(opened, units, 4)).splitlines()
    assert len(lines) == 6
    assert all("⟨9 units⟩" in line and "the dog" in line for line in lines[2:4])
