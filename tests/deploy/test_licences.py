"""The licence rules as scripts/licences.py reads them."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import licences  # noqa: E402

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}
RULES = {
    "licenses": {"allow": ["MIT"], "exceptions": [{"crate": "odd", "allow": ["MPL-2.0"]}]},
    "bans": {"deny": [{"crate": "banned", "reason": "why"}, {"crate": "wrapped", "wrappers": ["wrapper"], "reason": "why"}]},
}


@pytest.mark.parametrize(("expression", "expected"), [
    ("MIT", True),
    ("GPL-3.0-only", False),
    ("GPL-3.0-only OR MIT", True),
    ("MIT/Apache-2.0", True),
    ("MIT AND GPL-3.0-only", False),
    ("(MIT OR GPL-3.0-only) AND Apache-2.0", True),
    ("MIT OR GPL-3.0-only AND GPL-2.0-only", True),
    ("GPL-3.0-only AND GPL-2.0-only OR MIT", True),
    ("(MIT OR GPL-3.0-only) AND GPL-2.0-only", False),
    ("Apache-2.0 WITH LLVM-exception", True),
    ("Apache-2.0 WITH Classpath-exception-2.0", False),
])
def test_expressions(expression, expected):
    assert licences.satisfied(expression, ALLOWED) is expected


@pytest.mark.parametrize("expression", ["", "MIT OR", "(MIT", "MIT MIT", "AND MIT"])
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(ValueError):
        licences.satisfied(expression, ALLOWED)


def package(name, licence="MIT", source="registry+crates.io-index"):
    return {"name": name, "version": "1.0.0", "license": licence, "source": source}


@pytest.mark.parametrize(("crate", "parents", "expected"), [
    (package("fine"), {}, None),
    (package("odd", "MPL-2.0"), {}, None),
    (package("other", "MPL-2.0"), {}, "MPL-2.0 is not allowed"),
    (package("silent", None), {}, "states no licence"),
    (package("forked", source="git+somewhere"), {}, "only crates.io"),
    (package("banned"), {"banned": {"fine"}}, "banned (why); asked for by fine"),
    (package("wrapped"), {"wrapped": {"wrapper"}}, None),
    (package("wrapped"), {"wrapped": {"wrapper", "stranger"}}, "asked for by stranger"),
])
def test_crates(crate, parents, expected):
    crates = [crate] if crate["name"] == "odd" else [crate, package("odd")]
    found = list(licences.problems(crates, parents, RULES))
    assert (found == []) if expected is None else (len(found) == 1 and expected in found[0])


def test_an_exception_that_nothing_needs_is_named():
    assert any("odd" in problem for problem in licences.problems([package("fine")], {}, RULES))
