"""The shape of every model that a recipe names: of its folder, of the step that will make it, or as expected."""

from collections.abc import Iterable, Mapping
from typing import Any

from spire_ray.core import config, storage
from spire_ray.recipes import plan
from spire_ray.settings import ExportSettings, ExtendModelSettings, InitModelSettings, PackSettings, StageSettings, TrainSettings

Planned = dict[str, StageSettings]


def given(texts: Iterable[str], planned: Planned) -> dict[str, str]:
    """Model → file of each MODEL=FILE. Raises ValueError for what is not one, no file, and a model that no step names."""
    found = {}
    for text in texts:
        model, sign, path = text.partition("=")
        if not (model and sign and path):
            raise ValueError(f"shape={text}: expected MODEL=FILE, such as my/model=configs/shapes/llama-2-7b.json")
        if not storage.exists(path):
            raise ValueError(f"shape={text}: {path}: no such file")
        if not any(_names(config.to_dict(settings), model) for settings in planned.values()):
            raise ValueError(f"shape={text}: no step of the recipe names {model}")
        found[model] = path
    return found


def _names(value: Any, model: str) -> bool:
    if isinstance(value, Mapping | list | tuple):
        return any(_names(each, model) for each in (value.values() if isinstance(value, Mapping) else value))
    return bool(value == model)


def of(model: str, planned: Planned, given: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The `config.json` of a model, of `given` (model → file) first; None where nobody says it."""
    for path in ((given or {}).get(model, ""), storage.join(model, "config.json")):
        if path and storage.exists(path):
            return dict(storage.read_json(path))
    for settings in planned.values():  # whoever reads the same model may say what it expects
        expected = getattr(settings, "expected", None)
        if getattr(settings, "model", "") == model and expected and storage.exists(expected.shape):
            return dict(storage.read_json(expected.shape))
    return _made(planned.get(plan.maker_of(model, planned)), planned, given)


def row_length(settings: TrainSettings, planned: Planned) -> int:
    """Tokens in a row of a training's pack: of the pack, of the step that makes it, or as expected."""
    index = storage.join(settings.pack, "index.json")
    if storage.exists(index):
        return int(storage.read_json(index)["sequence_length"])
    maker = planned.get(plan.maker_of(settings.pack, planned))
    return maker.sequence_length if isinstance(maker, PackSettings) else settings.expected.sequence_length


def _made(maker: StageSettings | None, planned: Planned, given: Mapping[str, str] | None) -> dict[str, Any] | None:
    """What a step will make."""
    if isinstance(maker, ExportSettings):
        training = planned.get(plan.maker_of(maker.training, planned))
        return of(training.model, planned, given) if training and hasattr(training, "model") else None
    if isinstance(maker, ExtendModelSettings):
        return of(maker.model, planned, given)
    if isinstance(maker, InitModelSettings):
        shape = maker.architecture
        return {
            "model_type": "llama",
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate_size,
            "vocab_size": maker.vocabulary,
            "tie_word_embeddings": shape.tied,
            "max_position_embeddings": shape.max_positions,
        }
    return None
