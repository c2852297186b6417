"""One temperature in place of many weights: shares of languages, within a source and among the sources of a task."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.packs import balance, card, choice, mixture, pack, tokens
from spire_ray.settings import BalanceSettings, PackSettings, SourceSettings
from spire_ray.stages import pack as pack_stage
from spire_ray.text.tokenizer import SpeechTokenizer

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1, 1e9), min_size=1)


@given(sizes=SIZES, temperature=st.floats(0, 1), most=st.floats(0.5, 8), part=st.floats(0.01, 2))
def test_shares_follow_the_temperature_fill_the_total_and_stay_below_the_most(sizes, temperature, most, part):
    total, limits = part * sum(sizes.values()), {name: most * size for name, size in sizes.items()}
    made = balance.shares(sizes, limits, total, temperature)
    assert made.keys() == sizes.keys()
    assert sum(made.values()) == pytest.approx(min(total, sum(limits.values())), rel=1e-6)
    assert all(made[name] <= limits[name] * (1 + 1e-9) for name in sizes)
    free = [name for name in sizes if made[name] < limits[name] * (1 - 1e-9)]
    for one in free:
        for other in free:
            assert made[one] / made[other] == pytest.approx((sizes[one] / sizes[other]) ** temperature, rel=1e-6)
        for full in sizes.keys() - set(free):  # what is full would have had more
            assert made[full] / made[one] <= (sizes[full] / sizes[one]) ** temperature * (1 + 1e-6)


def test_xlm_rs_shares():
    """Conneau et al.: q = p^0.3 / Σ p^0.3; 90, 9 and 1 per cent become 57, 28 and 15."""
    sizes = {"en": 90.0, "de": 9.0, "cy": 1.0}
    made = balance.shares(sizes, dict.fromkeys(sizes, 1000000000.0), 100.0, 0.3)
    assert {name: round(part, 1) for name, part in made.items()} == {"en": 56.8, "de": 28.5, "cy": 14.7}


@pytest.fixture
def packed(tmp_path, tiny_model):
    """A function: sources, settings → what each is said to have brought, and the card; of 1,000 English rows and fewer others."""
    rows = [
        {
            "utt_id": f"{code}{n}", "text": f"{code} the dog {n}", "language": code, "split": "train",
            "translations": [(other, f"{other} der Hund {n}") for other in ("de", "en", "fr") if other != code],
        }
        for code, count in (("en", 1000), ("de", 200), ("fr", 40)) for n in range(count)
    ]  # fmt: skip
    kinds = {"translations": pa.map_(pa.string(), pa.string())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "part-000000.parquet")

    def run(sources, **changes):
        output = str(tmp_path / "pack")
        made = tuple(SourceSettings(**{"data": str(tmp_path)} | source) for source in sources)
        mixture.check(made)
        settings = PackSettings(model=tiny_model, output=output, sources=made, sequence_length=64, **changes)
        for number in range(len(made)):
            block = {"files": [f"{tmp_path}/part-000000.parquet"], "first": 0, "rows": -1}
            tokens.Tokeniser(settings).write(block | {"source": number, "block": number})
        chosen = choice.choose(settings, len(made))
        form = pack.Form(64, SpeechTokenizer(tiny_model).vocabulary_size)
        groups = [choice.pack_group(settings, form, chosen, len(made), number) for number in range(len(chosen.groups))]
        account = choice.account(settings, chosen, groups)
        facts = pack.write_index(output, groups, form, {"sources": account, "rejected": {}, "prompts": "", "packing": ""})
        card.write(output, facts)
        return account, (tmp_path / "pack" / "card.md").read_text()

    return run


def used(account):
    return {label: one["brought"] / one["available"] for label, one in account["balanced"].items()}


def test_a_source_is_balanced_within_and_the_card_says_how(packed):
    (account,), told = packed([{"task": "text"}], balance=BalanceSettings(by="language", temperature=0.0, max_epochs=3.0))
    there = {label: one["available"] for label, one in account["balanced"].items()}
    assert there["en"] / there["de"] == pytest.approx(5, rel=0.1)
    assert used(account)["fr"] == pytest.approx(3)  # as often as it may, and the others share what is left
    brought = {label: one["brought"] for label, one in account["balanced"].items()}
    assert brought["en"] == pytest.approx(brought["de"], rel=0.02)
    assert account["tokens"] == pytest.approx(sum(there.values()), rel=0.01) and not account["short"]
    (line,) = [line for line in told.splitlines() if line.startswith("| text | fr |")]
    assert line.endswith("| 3.00 × |")


def test_temperature_one_takes_what_no_balance_takes(packed):
    plain, _ = packed([{"task": "text", "weight": 2.0}, {"task": "mt", "target_language": "de", "tokens": 4000}])
    same = BalanceSettings(by="language", temperature=1.0)
    made, _ = packed([{"task": "text", "weight": 2.0}, {"task": "mt", "target_language": "de", "tokens": 4000}], balance=same)
    assert all("balanced" not in source for source in plain)
    assert used(made[0]) == dict.fromkeys(("de", "en", "fr"), 2.0)
    assert made[1]["tokens"] == pytest.approx(plain[1]["tokens"], rel=0.01)
    assert np.ptp(list(used(made[1]).values())) < 0.1 * max(used(made[1]).values())


@pytest.mark.parametrize("balance", [BalanceSettings(), BalanceSettings(by="language", temperature=1.0)])
def test_scale_is_of_sources_without_a_budget_too(packed, balance):
    sources = [{"task": "text", "weight": 2.0}, {"task": "mt", "target_language": "de", "tokens": 8000}]
    whole, _ = packed(sources, balance=balance)
    part, told = packed(sources, balance=balance, scale=0.25)
    for all_of_it, quarter in zip(whole, part, strict=True):
        assert quarter["tokens"] == pytest.approx(all_of_it["tokens"] / 4, rel=0.05) and not quarter["short"]
    assert ("0.5 epochs" in told) == (not balance.by)


def test_sources_of_a_task_are_balanced_among_themselves_and_a_budget_within(packed):
    sources = [{"task": "text", "name": code, "source_language": code} for code in ("en", "fr")]
    for source in sources:  # of each row the text in that language: as many rows, so thin one source out by its weight
        source["weight"] = 1.0 if source["name"] == "en" else 0.1
    sources.append({"task": "mt", "target_language": "any", "tokens": 6000})
    (english, french, mt), _ = packed(sources, balance=BalanceSettings(by="direction", temperature=0.0))
    assert english["tokens"] == pytest.approx(french["tokens"], rel=0.02)
    assert mt["tokens"] == pytest.approx(6000, rel=0.02)
    brought = [one["brought"] for one in mt["balanced"].values()]
    assert len(brought) == 6 and max(brought) < 1.1 * min(brought)


def test_any_source_language_makes_every_direction_into_the_target(packed):
    ((account,), _) = packed(
        [{"task": "mt", "source_language": "any", "target_language": "en"}], balance=BalanceSettings(by="direction")
    )
    assert account["balanced"].keys() == {"mt.de-en", "mt.fr-en"}
    assert account["available"]["documents"] == 2 * 1240
    with pytest.raises(ValueError, match="source_language=any: asr is of speech"):
        packed([{"task": "asr", "source_language": "any"}])


@pytest.mark.parametrize(
    ("balanced", "source", "reason"),
    [
        (
            {"by": "language"},
            {"tokens": 9.0, "max_epochs": 2.0},
            r"sources\.text\.max_epochs=2: beside balance\.by it is balance",
        ),
        ({"by": "source"}, {"max_epochs": 0.5}, r"sources\.text\.max_epochs=0\.5: beside balance\.by"),
        ({}, {"weight": 2.0, "max_epochs": 2.0}, r"sources\.text\.max_epochs=2: a source without a budget is repeated by weight"),
        ({"max_epochs": 8.0}, {}, r"balance\.max_epochs=8: nothing is balanced; set balance\.by"),
        ({"temperature": 1.0}, {}, r"balance\.temperature=1: nothing is balanced"),
        ({"by": "source"}, {}, r"balance\.by=source: no two sources are of one task and without budgets"),
        ({"by": "source"}, {"tokens": 9.0}, r"balance\.by=source: no two sources"),
        ({}, {"tokens": 9.0, "max_epochs": 2.0}, ""),
        ({"by": "language", "max_epochs": 2.0}, {"tokens": 9.0}, ""),
    ],
)
def test_how_often_a_row_may_be_used_is_said_in_one_place_and_refused_in_any_other(balanced, source, reason):
    sources = (SourceSettings(task="text", data="d", **source),)
    settings = PackSettings(model="m", output="o", sources=sources, balance=BalanceSettings(**balanced))
    if not reason:
        assert list(pack_stage.plan(settings))
        return
    with pytest.raises(ValueError, match=reason):
        pack_stage.plan(settings)
