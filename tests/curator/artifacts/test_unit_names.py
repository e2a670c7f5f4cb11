"""Names of units are taken apart in one place, and nowhere else."""

import re

from engine_parts import ROOT
from hypothesis import given
from hypothesis import strategies as st

from curator.artifacts.unit_names import UnitName

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789.*@/-", min_size=1, max_size=12)


@given(WORDS, WORDS, st.sampled_from([None, "paper", "gain", "attention"]))
def test_a_name_is_taken_apart_into_what_it_was_made_of(kind: str, address: str, probe: str | None) -> None:
    said = f":{probe}" if probe else ""
    assert UnitName.parse(f"{kind}:{address}{said}") == UnitName(kind, address, probe)  # type: ignore[arg-type]


def test_numbers_are_those_of_an_address_of_numbers() -> None:
    for name, numbers in (
        ("induction:3.11", (3, 11)),
        ("induction:3.11:gain", (3, 11)),
        ("induction:3.*", ()),
        ("mine:7", (7,)),
        ("sae:4@some/folder", ()),
        ("statistic:copyable", ()),
        ("", ()),
    ):
        assert UnitName.parse(name).numbers == numbers
    assert UnitName.parse("induction:gain") == UnitName("induction", "gain")  # an address, of whatever sense


def test_no_other_module_splits_a_name() -> None:
    splits = re.compile(r"(unit|spec|name)s?\.r?partition\(\":\"\)|unit\.split\(\":\"")
    files = [file for file in (ROOT / "curator").rglob("*.py") if file.name != "unit_names.py"]
    assert not [str(file) for file in files if splits.search(file.read_text())]
