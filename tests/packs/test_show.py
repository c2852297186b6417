"""A row for the eye: every document, its boundaries, and what the loss counts."""

import numpy as np

from spire_ray.packs import show
from spire_ray.packs.pack import Document, Pack, write
from spire_ray.text import prompts
from spire_ray.text.prompts import Turn
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.tools import inspect


def test_a_row_shows_its_documents_their_units_and_what_counts(tiny_model, tmp_path, capsys):
    tokenizer = SpeechTokenizer(tiny_model)
    units = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.uint16)
    [(ids, answers)] = tokenizer.encode([prompts.chat([Turn(prompts.asr_prompt(), "the dog")], units)])
    documents = [Document(ids, answers, "clip-1", 0), Document(ids[:4], np.ones(4, bool), "text-2", 1)]
    index = {"sources": [{"name": "asr"}, {"name": "text"}], "model": tiny_model, "tokenizer": tokenizer.record.tokenizer}
    write(str(tmp_path), documents, 96, tokenizer.vocabulary_size, 0, index)
    pack = Pack(str(tmp_path))
    plain = show.row(pack, tokenizer, 0, colour=False)
    assert plain.startswith(
        f"row 0 of 1, {len(ids) + 4} of 96 tokens\n\n── clip-1  asr  {len(ids)} tokens, {answers.sum()} counted\n"
    )
    assert "Speech: ⟨8 units: 3 1 4 1 5 9 …⟩\nEnglish:<|im_end|>" in plain
    assert "⟦the dog<|im_end|>⟧" in plain
    assert "── text-2  text  4 tokens, 4 counted" in plain
    coloured = show.row(pack, tokenizer, 0)
    assert "\033[32mthe dog<|im_end|>\033[0m" in coloured
    assert "\033[36m⟨8 units" in coloured
    assert inspect.main([str(tmp_path), "--rows", "3"]) == 0
    assert capsys.readouterr().out == f"{plain}\n\n"
    assert inspect.main([str(tmp_path), "--first", "1"]) == 2
    assert "has rows 0 to 0" in capsys.readouterr().err
