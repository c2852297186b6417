"""Who may import whom: the rules that let the core run on a bare machine and keep Ray in one folder."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "spire_ray"
MODULES = sorted(PACKAGE.rglob("*.py"))
WITH_RAY = ("runtime", "stages", "serving", "recipes")
CORE = ("units", "model", "training", "text", "packs", "inference.generate", "inference.continuous", "settings", "core.storage")
TRAINING_AND_SERVING = ("ray", "deepspeed", "mlflow", "vllm")
HEAVY = (*TRAINING_AND_SERVING, "soundfile", "soxr", "pydantic", "faiss")


def name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported(path):
    """Everything that a module imports, inside functions and by `import_module` as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            constants = [part for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
            found |= {constant.value for constant in constants[:1]}
    return found


def importers_of(package):
    inside = package + "."
    return {name(path) for path in MODULES if any(f"{i}.".startswith(inside) for i in imported(path))}


def below(module, packages):
    return module.startswith(tuple(f"spire_ray.{package}." for package in packages))


def test_ray_is_imported_in_runtime_stages_and_serving_alone():
    importers = importers_of("ray")
    assert "spire_ray.runtime.cluster" in importers  # else this test sees nothing
    assert {module for module in importers if not below(module, WITH_RAY)} == set()


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("runtime", ("runtime", "stages", "serving", "recipes", "tools")),
        ("stages", ("stages",)),
        ("serving", ("serving", "stages", "tools")),
        ("recipes", ("recipes", "quickstart", "tools")),
    ],
)
def test_imports_go_one_way(package, above):
    importers = importers_of(f"spire_ray.{package}") - {"spire_ray.cli"}
    assert importers
    assert {module for module in importers if not below(module, above)} == set()


@pytest.mark.parametrize("outside", ["jobs", "serve", "tests", "benchmarks"])
def test_the_package_imports_nothing_of_the_checkout_around_it(outside):
    assert importers_of(outside) == set()


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("pydantic", {"spire_ray.core.config"}),
        ("soundfile", {"spire_ray.audio", "spire_ray.quickstart"}),
        ("soxr", {"spire_ray.audio", "spire_ray.quickstart"}),
        ("av", {"spire_ray.audio.media"}),
        ("espeakng_loader", {"spire_ray.quickstart.espeak"}),
        ("faiss", {"spire_ray.units"}),
        ("mlflow", {"spire_ray.runtime.tracking", "spire_ray.core.mlflow_store"}),
    ],
)
def test_a_library_is_imported_where_it_belongs(library, home):
    found = importers_of(library)
    assert {place for place in home for name in found if name == place or name.startswith(f"{place}.")} == home
    assert not [name for name in found if not any(f"{name}.".startswith(f"{place}.") for place in home)]


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_the_core_imports_with_torch_alone_and_all_but_what_needs_it_without_ray():
    rest = [name(path) for path in MODULES if not {*WITH_RAY} & {*path.parts} and path.name != "__main__.py"]
    core = [module for module in rest if f"{module}.".startswith(tuple(f"spire_ray.{package}." for package in CORE))]
    assert 25 < len(core) < len(rest)
    done = run(
        f"import importlib, sys\n"
        f"heavy = {HEAVY!r}\n"
        f"sys.modules.update(dict.fromkeys(heavy))\n"
        f"for module in {core!r}: importlib.import_module(module)\n"
        f"for library in set(heavy) - {set(TRAINING_AND_SERVING)!r}: del sys.modules[library]\n"
        f"for module in {rest!r}: importlib.import_module(module)\n"
    )
    assert done.returncode == 0, done.stderr


def test_settings_need_the_standard_library_alone():
    blocked = (*HEAVY, "numpy", "torch", "transformers", "pyarrow", "yaml", "fsspec")
    done = run(
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import spire_ray.settings, spire_ray.units.fingerprint"
    )
    assert done.returncode == 0, done.stderr
