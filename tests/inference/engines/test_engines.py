"""Engines: the same tokens, streamed; what cannot be done is refused; a request that is closed or fails leaves nothing behind."""

import asyncio
import time
from contextlib import aclosing

import numpy as np
import pytest
import torch

from spire_ray.inference.engines import ENGINES, Asked, EngineDead, Refused
from spire_ray.inference.engines._pages import Pages


@pytest.fixture(scope="module", params=["padded", "transformers"])
def engine(request, tiny_model):
    made = ENGINES[request.param](tiny_model, "cpu", 4)
    yield made
    made.close()


@pytest.fixture(scope="module")
def paged(tiny_model):
    made = ENGINES["transformers"](tiny_model, "cpu", 8)
    yield made
    made.close()


@pytest.fixture(scope="module")
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def prompts(number, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(5, 280, draw.integers(4, 120)).tolist() for _ in range(number)]


async def ids(engine, prompt, new=12, **how):
    return [token.id async for token in engine.generate(prompt, Asked(new, **how))]


def greedy(model, prompt, new=12):
    tokens = list(prompt)
    for _ in range(new):
        with torch.inference_mode():
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_tokens_are_those_of_the_plain_model_whatever_else_runs(engine, model):
    async def together():
        return await asyncio.gather(*(ids(engine, prompt) for prompt in prompts(9)))

    assert asyncio.run(together()) == [greedy(model, prompt) for prompt in prompts(9)]
    assert engine.stats.tokens / engine.stats.steps > 1.5  # they shared steps


def test_requests_that_arrive_one_by_one_share_steps(engine, model):
    """Ray's @serve.batch made batches of one of them."""

    async def arriving():
        async def later(n, prompt):
            await asyncio.sleep(0.002 * n)
            return await ids(engine, prompt, 40)

        return await asyncio.gather(*(later(n, prompt) for n, prompt in enumerate(prompts(16, 1))))

    before = (engine.stats.tokens, engine.stats.steps)
    asyncio.run(arriving())
    assert (engine.stats.tokens - before[0]) / (engine.stats.steps - before[1]) > 2


def test_an_answer_ends_before_its_stop(engine, model):
    prompt = prompts(1)[0]
    expected = greedy(model, prompt)
    stop = expected[5]
    found = asyncio.run(ids(engine, prompt, stops=frozenset([stop])))
    assert found == expected[: expected.index(stop)]


def test_logprobs_and_scores_are_those_of_the_plain_model(engine, model):
    prompt = prompts(1)[0]
    answer = greedy(model, prompt, 6)

    async def both():
        made = [token async for token in engine.generate(prompt, Asked(6, logprobs=True))]
        return made, await engine.score(prompt, answer)

    made, scored = asyncio.run(both())
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1)[range(6), answer]
    assert [token.id for token in made] == answer
    assert [token.logprob for token in made] == pytest.approx(expected.tolist(), abs=1e-4)
    assert scored == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("length", [0, 505, 600])
def test_a_prompt_that_does_not_fit_is_refused_and_harms_nobody(engine, length):
    with pytest.raises(ValueError, match="prompt of"):
        asyncio.run(ids(engine, [7] * length))
    assert asyncio.run(ids(engine, prompts(1)[0]))
    engine.check()


def test_a_closed_request_makes_room(paged):
    async def close_one():
        async with aclosing(paged.generate(prompts(1)[0], Asked(300))) as stream:
            async for _ in stream:
                break
        assert paged.stats.running == 0 and not paged._router.sinks
        others = [asyncio.create_task(ids(paged, prompt, 300)) for prompt in prompts(20, 2)]
        await asyncio.sleep(0.2)
        for task in others[:15]:
            task.cancel()
        assert all(len(answer) == 300 for answer in await asyncio.gather(*others[15:]))

    asyncio.run(asyncio.wait_for(close_one(), 60))
    assert (paged.stats.running, paged.stats.waiting, paged._pages._free) == (0, 0, paged._pages.total)


def test_more_than_the_cache_holds_waits_instead_of_standing_still(paged):
    """The loop of transformers, given more than its cache holds, blocks, and a cancel then leaves the others waiting for ever."""
    paged._pages._free, paged._pages.total, whole = 20, 20, paged._pages.total

    async def many():
        tasks = [asyncio.create_task(ids(paged, [9] * 100, 100)) for _ in range(6)]  # 14 pages each
        await asyncio.sleep(0.1)
        assert paged.stats.running == 1
        tasks[0].cancel()
        return await asyncio.gather(*tasks[1:])

    try:
        assert {len(answer) for answer in asyncio.run(asyncio.wait_for(many(), 60))} == {100}
    finally:
        paged._pages._free = paged._pages.total = whole


@pytest.mark.parametrize("how", [{"beams": 2}, {"n": 2}, {"temperature": 0.5}])
def test_what_continuous_batching_cannot_do_is_refused(paged, how):
    with pytest.raises(Refused, match=f"{next(iter(how))}=.*cannot do that"):
        asyncio.run(ids(paged, prompts(1)[0], **how))


def test_the_padded_engine_searches_and_samples(tiny_model, model):
    engine = ENGINES["padded"](tiny_model, "cpu", 4)
    prompt = prompts(1)[0]

    async def several(**how):
        return [token async for token in engine.generate(prompt, Asked(8, **how))]

    torch.manual_seed(0)
    sampled = asyncio.run(several(temperature=2.0, n=3))
    assert {token.candidate for token in sampled} == {0, 1, 2}
    beams = [token.id for token in asyncio.run(several(beams=4))]

    def likelihood(answer):
        return sum(asyncio.run(engine.score(prompt, answer)))

    assert likelihood(beams) >= likelihood(greedy(model, prompt, 8)) - 1e-3
    with pytest.raises(Refused, match="logprobs=True"):
        asyncio.run(several(beams=2, logprobs=True))
    engine.close()


def test_one_prefill_is_shared_by_ten_languages(paged):
    """Speech stands first: whoever asks after the first token of another reuses all whole pages of it."""
    speech = np.random.default_rng(3).integers(5, 280, 400).tolist()

    async def fan_out():
        before = paged.stats.reused_tokens
        stream = paged.generate([*speech, *range(20, 27)], Asked(4))
        first = [(await anext(stream)).id]
        rest = await asyncio.gather(*(ids(paged, [*speech, *range(30 + n, 37 + n)], 4) for n in range(9)))
        first += [token.id async for token in stream]
        return paged.stats.reused_tokens - before, [first, *rest]

    reused, answers = asyncio.run(fan_out())
    assert reused == 9 * 400
    assert all(len(answer) == 4 for answer in answers)


def test_a_loop_that_has_ended_says_so(tiny_model):
    engine = ENGINES["transformers"](tiny_model, "cpu", 4)

    async def broken():
        task = asyncio.create_task(ids(engine, prompts(1)[0], 400))
        await asyncio.sleep(0.1)
        engine._manager.batch_processor._generation_step = None  # what a fault in the model does
        with pytest.raises(EngineDead):
            await task
        with pytest.raises(EngineDead):
            await ids(engine, prompts(1)[0])

    asyncio.run(asyncio.wait_for(broken(), 30))
    with pytest.raises(EngineDead, match="has ended"):
        engine.check()


def test_an_engine_without_progress_says_so(tiny_model, monkeypatch):
    engine = ENGINES["transformers"](tiny_model, "cpu", 4)
    monkeypatch.setattr("spire_ray.inference.engines.transformers._HANG_SECONDS", 0.3)

    async def hung():
        step = engine._manager.batch_processor._generation_step
        engine._manager.batch_processor._generation_step = lambda model: (time.sleep(1), step(model))
        task = asyncio.create_task(ids(engine, prompts(1)[0], 2))
        await asyncio.sleep(0.6)
        with pytest.raises(EngineDead, match="no token"):
            engine.check()
        await task
        engine.check()

    asyncio.run(asyncio.wait_for(hung(), 30))
    engine.close()


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"engine='pad'.*padded"):
        ENGINES["pad"]


def test_pages_are_given_in_order_and_come_back():
    async def story():
        pages, order = Pages(10), []

        async def want(name, number):
            await pages.take(number)
            order.append(name)

        await want("a", 6)
        tasks = [asyncio.create_task(want(name, number)) for name, number in (("b", 8), ("c", 2))]
        await asyncio.sleep(0.05)
        assert order == ["a"]  # c would fit, but came later
        tasks[0].cancel()
        await asyncio.sleep(0.05)
        assert order == ["a", "c"]
        with pytest.raises(ValueError, match="11 pages"):
            await pages.take(11)
        pages.give(8)
        await want("d", 10)

    asyncio.run(story())
