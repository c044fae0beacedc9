"""Protobuf messages as the JSON of the Open Inference Protocol: proto field names, 64-bit integers as numbers."""

from typing import Any

from google.protobuf.message import Message


def as_json(message: Message) -> dict[str, Any]:
    """Every field that is set or has a default, by its name in the .proto file; bytes must be UTF-8."""
    result: dict[str, Any] = {}
    fields: Any = message.DESCRIPTOR.fields
    for field in fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if _is_map(field):
            of_value = field.message_type.fields_by_name["value"]
            result[field.name] = {str(key): _scalar(of_value, value[key]) for key in value}
        elif field.is_repeated:
            result[field.name] = [_scalar(field, item) for item in value]
        else:
            result[field.name] = _scalar(field, value)
    return result


# Descriptors are Any: protobuf has them in two implementations, whose types are not related.


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _scalar(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return as_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value.decode() if isinstance(value, bytes) else value
