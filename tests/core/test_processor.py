"""What is asked of the machine before it is made use of."""

import shutil

import pytest

from spire_ray.core import processor
from spire_ray.units.encoders import packed


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "0")  # a training in this process may have switched it off
    processor.has_compiler.cache_clear()
    yield
    processor.has_compiler.cache_clear()


def test_without_a_compiler_nothing_is_compiled_and_the_user_is_told(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.warns(UserWarning, match="no C compiler"):
        assert packed._compiled(len) is len


@pytest.mark.parametrize("there", ["gcc", "clang"])
def test_either_compiler_does(monkeypatch, there):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == there else None)
    assert packed._compiled(len) is not len
