"""What `make mutation` changes exists, and its samples and scores are what they say."""

from __future__ import annotations

import tomllib

from tests.programs import ROOT
from tools.mutation import draw_sample, render_scores

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]


def test_the_modules_and_their_tests_exist():
    tests = [name for name in SETTINGS["pytest_add_cli_args_test_selection"] if "/" in name]
    for pattern in (*SETTINGS["only_mutate"], *tests):
        assert list(ROOT.glob(pattern)), pattern


def test_a_sample_is_always_the_same_one():
    mutants = {"a.py": [f"a{n}" for n in range(100)], "b.py": ["b1", "b0"]}
    sample = draw_sample(mutants, 5, 0)
    assert len(set(sample)) == 7 and sample[5:] in (["b0", "b1"], ["b1", "b0"])
    assert draw_sample({"a.py": reversed(mutants["a.py"])}, 5, 0) == sample[:5]
    assert draw_sample(mutants, 5, 1)[:5] != sample[:5]


def test_scores_count_what_was_tried():
    results = {
        "a.py": {"k": 1, "t": 36, "s": 0, "n": 33, "x": None, "other": 0},
        "b.py": {"y": None},
    }
    *_, first, second, total = render_scores(results, {"k", "t", "s", "n", "x", "y"}).splitlines()
    assert first == "| `a.py` | 6 | 4 | 2 | 1 | 1 | 50% |"
    assert second == "| `b.py` | 1 | 0 | 0 | 0 | 0 | - |"
    assert total == "| all | 7 | 4 | 2 | 1 | 1 | 50% |"
