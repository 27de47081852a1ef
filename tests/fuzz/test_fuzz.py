"""Each harness on everything in its corpus, and on some hundred mutations of it. `make fuzz` searches further."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
HARNESSES = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))
CORPUS = {name: sorted((HERE / "corpus" / name).iterdir()) for name in HARNESSES}


def check_of(harness: str) -> Callable[[bytes], None]:
    check: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.fuzz_{harness}").check
    return check


@pytest.mark.parametrize(
    ("harness", "path"),
    [pytest.param(name, path, id=f"{name}/{path.name}") for name in HARNESSES for path in CORPUS[name]],
)
def test_the_corpus(harness: str, path: Path) -> None:
    check_of(harness)(path.read_bytes())


@st.composite
def mutations(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a part of it replaced by bytes, or by a part of another seed."""
    seed, other = draw(st.sampled_from(seeds)), draw(st.sampled_from(seeds))
    start, end = sorted((draw(st.integers(0, len(seed))), draw(st.integers(0, len(seed)))))
    first, last = sorted((draw(st.integers(0, len(other))), draw(st.integers(0, len(other)))))
    return seed[:start] + draw(st.binary(max_size=8) | st.just(other[first:last])) + seed[end:]


@pytest.mark.parametrize("harness", HARNESSES)
def test_mutations_of_the_corpus(harness: str) -> None:
    check = check_of(harness)
    seeds = [path.read_bytes() for path in CORPUS[harness]]

    @given(st.binary(max_size=64) | mutations(seeds))
    @settings(max_examples=300, deadline=None)
    def run(data: bytes) -> None:
        check(data)

    run()
