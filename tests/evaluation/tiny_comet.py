"""Write a COMET model of random weights: `python tiny_comet.py FOLDER CLASS`, with the interpreter that holds unbabel-comet."""

import sys
from pathlib import Path

import torch
import yaml
from comet.models import str2model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast

folder, kind = Path(sys.argv[1]), sys.argv[2]
encoder = folder / "encoder"
(folder / "checkpoints").mkdir(parents=True)
tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
tokenizer.train_from_iterator(["the dog sees a cat der Hund"], trainers.BpeTrainer(vocab_size=120, special_tokens=special))
tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(encoder)
shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "max_position_embeddings": 130}
XLMRobertaConfig(vocab_size=tokenizer.get_vocab_size(), **shape, **ids).save_pretrained(encoder)
torch.manual_seed(0)
given = {"pretrained_model": str(encoder), "load_pretrained_weights": False, "hidden_sizes": [8]}
if kind == "unified_metric":  # what COMETKiwi is
    given |= {"input_segments": ["mt", "src"], "word_level_training": False, "sent_layer": "mix"}
if kind == "xcomet_metric":
    given |= {"encoder_model": "XLM-RoBERTa", "word_layer": 1}
model = str2model[kind](**given)
for weight in model.parameters():  # larger ones, so that scores differ from row to row
    if weight.ndim > 1:
        torch.nn.init.normal_(weight, std=0.5)
hparams = dict(model.hparams)
saved = {"state_dict": model.state_dict(), "hyper_parameters": hparams, "pytorch-lightning_version": "2.6.6"}
torch.save(saved, folder / "checkpoints" / "model.ckpt")
(folder / "hparams.yaml").write_text(yaml.safe_dump({**hparams, "class_identifier": kind}))
