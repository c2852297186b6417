"""A killed training goes on as if nothing had happened: on as many workers to the bit, on another number to rounding."""

import pytest

from spire_ray.training.checkpoints import ledger
from tests.training import phases

pytestmark = pytest.mark.long
PARTS = {
    "full": {},
    "lora": {"trainable": "lora", "lora": {"rank": 4, "alpha": 8}},
    "units_only": {"trainable": "units_only"},
}


@pytest.fixture(scope="module", params=["cpt rows", "it rows"])
def results(request, tmp_path_factory, fresh_model, tiny_pack):
    from spire_ray.text.tokenizer import SpeechTokenizer

    folder = tmp_path_factory.mktemp("resume")
    it = request.param == "it rows"
    pack = phases.answers_pack(folder / "pack", SpeechTokenizer(fresh_model)) if it else tiny_pack
    run = phases.Phases(folder, fresh_model, pack)
    for part, training in PARTS.items():
        run.add(f"{part} undisturbed", 2, training=training)
        for workers in (1, 2, 4):
            run.add(f"{part} killed for {workers}", 2, training=training, kill_at=6)
            run.add(f"{part} on {workers}", workers, training=training, output=f"{part} killed for {workers}")
    for stage in (0, 2, 3):
        run.add(f"zero{stage} undisturbed", 2, stage, held_out={"pack": pack, "every": 3, "rows": 5})
        run.add(f"zero{stage} killed for 1", 2, stage, kill_at=6)
        run.add(f"zero{stage} on 1", 1, stage, output=f"zero{stage} killed for 1")
    muon = {"optimizer": {"name": "muon", "lr": 1e-3, "muon_lr": 1e-2, "clip": 0}}
    run.add("muon killed", 2, training=muon, kill_at=6)
    run.add("muon on 1", 1, training=muon, output="muon killed", refused="cannot be moved to another number of workers")
    return run, run.run()


@pytest.mark.parametrize("part", PARTS)
def test_on_as_many_workers_every_loss_has_the_same_bits(results, part):
    undisturbed, again = (phases.losses(results[1][f"{part} {name}"]) for name in ("undisturbed", "on 2"))
    assert again == {step: loss for step, loss in undisturbed.items() if step > 4}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("part", PARTS)
def test_on_another_number_of_workers_every_loss_agrees(results, part, workers):
    undisturbed, again = (phases.losses(results[1][f"{part} {name}"]) for name in ("undisturbed", f"on {workers}"))
    assert again == pytest.approx({step: loss for step, loss in undisturbed.items() if step > 4}, rel=1e-5)


def test_muon_cannot_move_and_says_so(results):
    assert results[1]["muon on 1"] == {}


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_every_zero_stage_can_move(results, stage):
    undisturbed, again = (phases.losses(results[1][f"zero{stage} {name}"]) for name in ("undisturbed", "on 1"))
    assert again == pytest.approx({step: loss for step, loss in undisturbed.items() if step > 4}, rel=1e-5)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("part", PARTS)
def test_the_ledger_is_that_of_an_undisturbed_training(results, part, workers):
    run, _ = results
    expected = ledger.read(run.output(f"{part} undisturbed"))
    assert list(expected) == list(range(1, 9))
    assert ledger.read(run.output(f"{part} killed for {workers}")) == expected
