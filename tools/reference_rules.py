"""Puts protovalidate rules and field behaviours into short words for the reference pages."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from tools.reference_markdown import code

BEHAVIOURS = {
    2: "required",
    3: "output only",
    4: "input only",
    5: "immutable",
    6: "in no order",
    8: "identifier",
}
"""The words for google.api.FieldBehavior, by number; the others add nothing to what the type says."""

FLAGS = {
    "address": "a host name or IP address",
    "defined_only": "a known value",
    "email": "an email address",
    "finite": "finite",
    "gt_now": "in the future",
    "host_and_port": "a host and port",
    "hostname": "a host name",
    "ip": "an IP address",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "lt_now": "in the past",
    "tuuid": "a UUID without dashes",
    "ulid": "a ULID",
    "unique": "no repeats",
    "uri": "a URI",
    "uri_ref": "a URI reference",
    "uuid": "a UUID",
}
IGNORE_IF_ZERO_VALUE = 1
SIZES = [
    ("min_len", "max_len", "len", "characters"),
    ("min_bytes", "max_bytes", "len_bytes", "bytes"),
    ("min_items", "max_items", "", "items"),
    ("min_pairs", "max_pairs", "", "entries"),
]
BOUNDS = {"gt": "above", "gte": "at least", "lt": "below", "lte": "at most"}
PHRASES = {
    "const": "always",
    "pattern": "matches",
    "prefix": "starts with",
    "suffix": "ends with",
    "contains": "contains",
    "not_contains": "does not contain",
    "within": "within this time of now:",
}


def named(message: Message) -> dict[str, Any]:
    """The fields that are set, by name."""
    return {field.name: value for field, value in message.ListFields()}


def field_words(rules: Message, enum_values: dict[int, str]) -> list[str]:
    """The words for a `buf.validate.FieldRules`; `enum_values` names the numbers if the field is an enum."""
    words: list[str] = []
    for name, value in named(rules).items():
        match name:
            case "required":
                words.insert(0, "required")
            case "ignore":
                words.append("or empty" if value == IGNORE_IF_ZERO_VALUE else "not checked")
            case "cel":
                words.extend(cel_words(value))
            case "cel_expression":
                words.extend(map(code, value))
            case _:
                words.extend(typed_words(name, named(value), enum_values))
    return words


def message_words(rules: Message) -> Iterator[str]:
    """A line for each rule of a `buf.validate.MessageRules`."""
    for name, value in named(rules).items():
        match name:
            case "cel":
                yield from cel_words(value)
            case "cel_expression":
                yield from map(code, value)
            case "oneof":
                for group in value:
                    count = "Exactly" if group.required else "At most"
                    yield f"{count} one of {', '.join(map(code, group.fields))}"


def cel_words(rules: list[Any]) -> Iterator[str]:
    for rule in rules:
        yield rule.message or code(rule.expression)


def typed_words(kind: str, rules: dict[str, Any], enum_values: dict[int, str]) -> Iterator[str]:
    """The words for the rules of one type, such as `string` or `repeated`."""
    parts = ("items", "keys", "values")
    nested = {name: field_words(rules.pop(name), enum_values) for name in parts if name in rules}
    yield from size_words(kind, rules)
    yield from range_words(rules)
    for name, value in rules.items():
        if name in FLAGS:
            if value:
                yield FLAGS[name]
        elif name in ("in", "not_in"):
            choices = [code(enum_values[choice]) if choice in enum_values else literal(choice) for choice in value]
            yield f"{'one of' if name == 'in' else 'not'} {', '.join(choices)}"
        elif name != "example":
            yield f"{PHRASES.get(name, code(name))} {literal(value)}"
    for name, words in nested.items():
        yield f"{'each' if name == 'items' else name} {', '.join(words)}"


def size_words(kind: str, rules: dict[str, Any]) -> Iterator[str]:
    """Takes the sizes out of `rules`."""
    for least_name, most_name, exact_name, unit in SIZES:
        least, most, exact = (rules.pop(name, None) for name in (least_name, most_name, exact_name))
        unit = "bytes" if kind == "bytes" else unit
        if exact is not None or (least is not None and least == most):
            yield f"exactly {least if exact is None else exact} {unit}"
        elif least is not None and most is not None:
            yield f"{least} to {most} {unit}"
        elif least is not None:
            yield "not empty" if least == 1 else f"at least {least} {unit}"
        elif most is not None:
            yield f"at most {most} {unit}"


def range_words(rules: dict[str, Any]) -> Iterator[str]:
    """Takes the bounds out of `rules`. A lower bound above the upper one asks for a value outside the two."""
    bounds = {name: rules.pop(name) for name in BOUNDS if name in rules}
    if bounds.keys() == {"gte", "lte"} and in_order(bounds["gte"], bounds["lte"]):
        yield f"{plain(bounds['gte'])} to {plain(bounds['lte'])}"
    elif bounds:
        inside = len(bounds) == 1 or in_order(*bounds.values())
        yield (" and " if inside else " or ").join(f"{BOUNDS[name]} {plain(value)}" for name, value in bounds.items())


def in_order(lower: Any, upper: Any) -> bool:
    return bool(number(lower) <= number(upper))


def number(value: Any) -> Any:
    """A duration or timestamp in seconds; a number as it is."""
    if isinstance(value, Message):
        parts = named(value)
        return parts.get("seconds", 0) + parts.get("nanos", 0) / 1e9
    return value


def plain(value: Any) -> str:
    """A number or a time in its usual writing; a float32 without the digits that only its binary form has."""
    if isinstance(value, Message):
        return f"{number(value):g} s"
    return f"{value:g}" if isinstance(value, float) else str(value)


def literal(value: Any) -> str:
    if isinstance(value, bytes):
        return code(repr(value)[2:-1])
    return code(plain(value))
