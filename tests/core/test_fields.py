"""Marks at the fields say what an input is, and what is no part of an output's identity."""

from spire_ray.core import config
from spire_ray.core.fields import fields
from spire_ray.core.stage import STAGES
from spire_ray.settings import (
    EvaluatedModel,
    EvaluateSettings,
    PackSettings,
    PseudoLabelSettings,
    QualitySettings,
    ServeSettings,
    SourceSettings,
)


def references(settings):
    return {field.key: field.reference.kind for field in fields(settings) if field.reference}


def test_references_in_lists_and_groups_are_found():
    pack = PackSettings(
        output="o", model="m", sources=(SourceSettings(task="asr", data="d"), SourceSettings(task="mt", data="e"))
    )
    assert references(pack) == {"model": "model", "sources.0.data": "manifest", "sources.1.data": "manifest"}
    models = (EvaluatedModel(name="it", model="m", tasks=("asr",), format="it"),)
    evaluated = references(EvaluateSettings(output="o", data="u", models=models))
    assert evaluated == {
        "data": "manifest", "audio": "manifest", "shots.data": "manifest", "models.0.model": "model", "spbleu_model": "file",
    }  # fmt: skip


def test_moving_an_environment_or_more_replicas_is_the_same_output():
    def labels(**changed):
        quality = QualitySettings(model="q", **changed)
        return config.identity(PseudoLabelSettings(output="o", data="d", model="m", languages=("de",), quality=quality))

    assert labels(python="/one/bin/python", batch_size=8) == labels(python="/other/bin/python")
    assert labels(threshold=0.9) != labels()
    assert config.identity(ServeSettings(output="o", model="m", replicas=3, max_batch_size=4)) == config.identity(
        ServeSettings(output="p", model="m")
    )


def test_what_every_stage_has_is_no_part_of_an_identity():
    for name in STAGES:
        kind = STAGES[name].settings
        common = {"root", "output", "plugins", "storage", "tracking", "license"}
        assert common <= set(kind.__dataclass_fields__)
