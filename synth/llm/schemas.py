"""A JSON schema as the structured output of servers wants it: every key required, no bounds.

Strict mode knows no optional keys, so what is optional may be null there, and nulls are taken out of the answer again.
Bounds (lengths, counts, regular expressions) are left to our own validator: servers refuse some of them, and those that
compile a schema into a grammar choke on large ones.
"""

from typing import Any

_BOUNDS = ("minLength", "maxLength", "pattern", "minItems", "maxItems", "minimum", "maximum", "uniqueItems")


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` for ``response_format`` of type json_schema with ``strict``."""
    made = {key: value for key, value in schema.items() if key not in _BOUNDS}
    if "enum" in made:
        made.setdefault("type", "string")
    if "anyOf" in made:
        made["anyOf"] = [strict_schema(one) for one in made["anyOf"]]
    if "items" in made:
        made["items"] = strict_schema(made["items"])
    if "properties" in made:
        required = schema.get("required", [])
        made["properties"] = {
            name: strict_schema(one)
            if name in required
            else {"anyOf": [strict_schema(one), {"type": "null"}]}
            for name, one in made["properties"].items()
        }
        made["required"] = list(made["properties"])
        made["additionalProperties"] = False
    return made


def without_nulls(value: Any) -> Any:
    """``value`` without keys that are null; no schema of ours allows one."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
