"""Reading what a client sends. Everything wrong is told at once, each fault at its field."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from multidict import MultiMapping

from forwarder.ops.refusals import Fault, Refused

T = TypeVar("T", bound=msgspec.Struct)


def read_body(cls: type[T], content: bytes) -> T:
    """The body as a value of that class. A null counts as not given.

    Raises:
        Refused: it is no JSON object, or fields are missing or wrong.
    """
    try:
        raw = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"The body is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise Refused(400, "The body is not a JSON object.")
    return _checked(cls, raw, strict=True)


def read_query(cls: type[T], query: MultiMapping[str]) -> T:
    """The query's parameters as a value of that class. A list is separated by commas, or given several times.

    Raises:
        Refused: parameters are missing or wrong.
    """
    lists = {each.encode_name for each in msgspec.structs.fields(cls) if _is_list(each.type)}
    raw = {name: ",".join(query.getall(name)).split(",") if name in lists else query.getall(name)[-1] for name in query}
    return _checked(cls, raw, strict=False)


def _checked(cls: type[T], raw: Mapping[str, Any], *, strict: bool) -> T:
    faults: list[Fault] = []
    value = _struct(cls, raw, "", faults, strict=strict)
    if value is None:
        raise Refused(400, faults=faults)
    return value


def _struct(cls: type[T], raw: Mapping[str, Any], prefix: str, faults: list[Fault], *, strict: bool) -> T | None:
    values: dict[str, Any] = {}
    before = len(faults)
    fields = msgspec.structs.fields(cls)
    for field in fields:
        name = prefix + field.encode_name
        given = raw.get(field.encode_name)
        if given is not None:
            values[field.name] = _value(field.type, given, name, faults, strict=strict)
        elif field.required:
            faults.append(Fault(f"{name} is required", name, "missing.value"))
    if cls.__struct_config__.forbid_unknown_fields:
        known = {field.encode_name for field in fields}
        faults.extend(Fault(f"there is no field {prefix}{name}", prefix + name) for name in raw if name not in known)
    return cls(**values) if len(faults) == before else None


def _value(kind: Any, given: Any, name: str, faults: list[Fault], *, strict: bool) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(given, dict):
        return _struct(kind, given, name + ".", faults, strict=strict)
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        faults.append(Fault(f"{name}: {error}", name))
        return None


def _is_list(kind: Any) -> bool:
    return any(get_origin(each) is list for each in (kind, *get_args(kind)))
