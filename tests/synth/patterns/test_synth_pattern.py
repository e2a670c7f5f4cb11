"""Patterns are data: what a schema or a rule forbids is named, and nothing in a template is evaluated."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pattern_samples import log_pattern, pattern_json, span_pattern

from synth.patterns.pattern import PATTERN_SCHEMA, Pattern, PatternError


def test_a_pattern_survives_json() -> None:
    for pattern in (log_pattern(), span_pattern()):
        assert Pattern.from_json(pattern.to_json()) == pattern


def test_the_schema_has_the_six_fields_of_appendix_j2() -> None:
    names = ["pattern_id", "pattern_name", "anchor_tokens", "fields", "template", "length_control"]
    assert PATTERN_SCHEMA["required"] == names
    assert not PATTERN_SCHEMA["additionalProperties"]


def test_the_functions_name_is_that_of_appendix_j3() -> None:
    assert (
        log_pattern(pattern_name="Log: lines / of a *server*").function
        == "generate_p001_log_lines_of_a_server"
    )
    assert log_pattern(pattern_name="数字").function == "generate_p001_pattern"


def field(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "number", "type": "number", "values_or_rules": "0-9", **changes}]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"template": "INFO worker-{number.__class__}: {words}"}, "plain {name}"),
        ({"template": "INFO worker-{number!r}: {words}"}, "plain {name}"),
        ({"template": "INFO worker-{number:>1000000000}: {words}"}, "plain {name}"),
        ({"template": "INFO worker-{number[0]}: {words}"}, "plain {name}"),
        ({"template": "INFO worker-{}: {words}"}, "plain {name}"),
        ({"template": "INFO worker-{number}: {words"}, "literal brace"),
        ({"template": "INFO worker-{number}: {words} {other}"}, "no field 'other'"),
        ({"template": "INFO worker-{number}"}, "'words' does not stand in the template"),
        ({"anchor_tokens": ["DEBUG"]}, "does not stand literally"),
        ({"fields": field(values_or_rules="9-1"), "template": "INFO worker-{number}"}, "MIN <= MAX"),
        (
            {"fields": field(type="characters"), "template": "INFO worker-{number}"},
            "the classes are lowercase",
        ),
        ({"fields": field(type="fixed_list"), "template": "INFO worker-{number}"}, "needs a list"),
        ({"fields": field(count=[4, 2]), "template": "INFO worker-{number}"}, "[least, most]"),
        ({"fields": field() * 2, "template": "INFO worker-{number}"}, "there twice"),
        ({"fields": field(type="dance"), "template": "INFO worker-{number}"}, "'dance' is not one of"),
        ({"fields": field(name="a/../b"), "template": "INFO worker-{number}"}, "does not match"),
        ({"pattern_id": "../../etc"}, "does not match"),
        ({"pattern_name": ""}, "pattern_name"),
        ({"anchor_tokens": [], "fields": field(), "template": "{number}"}, "repeats nothing"),
        ({"surprise": 1}, "surprise"),
        ({"template": "x" * 5000}, "template"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern.from_json(pattern_json(**changes))
    assert says in str(caught.value)
    assert len(str(caught.value)) < 2000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*PATTERN_SCHEMA["required"], "x"]), json_values) | json_values)
def test_any_json_is_a_pattern_or_a_pattern_error(value: Any) -> None:
    changed = {**pattern_json(), **value} if isinstance(value, dict) else value
    try:
        pattern = Pattern.from_json(changed)
    except PatternError:
        return
    assert Pattern.from_json(pattern.to_json()) == pattern


def test_parts_join_escaped_braces() -> None:
    pattern = log_pattern(template="INFO worker-{{{number}}}: {words}\n", anchor_tokens=["INFO worker-{"])
    assert pattern.parts()[0] == ("INFO worker-{", "number")


@pytest.mark.parametrize("key", ["pattern_name", "template", "length_control", "anchor_tokens", "fields"])
def test_a_pattern_that_cannot_be_written_down_is_refused(key: str) -> None:
    """JSON may hold half a character as an escape; no file can."""
    half = "INFO worker-\ud800"
    changes: dict[str, Any] = {
        "template": half + "{number}: {words}\n",
        "anchor_tokens": [half],
        "fields": [{"name": "number", "type": "fixed_list", "values_or_rules": ["a", half]}],
    }
    with pytest.raises(PatternError, match=r"'INFO worker-\\ud800.* holds half a character"):
        Pattern.from_json(pattern_json(**{key: changes.get(key, half)}))


def words_field(number: int, most: int) -> dict[str, Any]:
    rule = {"type": "random_text", "values_or_rules": "words", "count": [1, most]}
    return {"name": f"f{number}", **rule}


def test_a_repetition_that_no_row_could_hold_is_refused() -> None:
    """It would take gigabytes to write and to check."""
    fields = [words_field(number, 1000) for number in range(30)]
    template = "INFO worker-" + "".join(f"{{f{number}}}" for number in range(30))
    with pytest.raises(PatternError, match=r"one repetition has about 120,\d+ characters, at most 20,000"):
        log_pattern(fields=fields, template=template)
    field = {"name": "x", "type": "characters", "values_or_rules": "hex", "count": [1000, 1000]}
    with pytest.raises(PatternError, match="one repetition has about 900,"):
        log_pattern(fields=[field], template="q{x}" * 900, anchor_tokens=["q"])
    log_pattern(fields=fields[:4], template="INFO worker-{f0}{f1}{f2}{f3}")


def test_a_name_is_one_line() -> None:
    with pytest.raises(PatternError, match="pattern_name: one line"):
        log_pattern(pattern_name="Log\nlines")
