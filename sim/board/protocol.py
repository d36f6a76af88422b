"""Messages and methods of PYNQ's remote protocol, versions 3.1 and 4.0, as gRPC carries them.

Message classes are made here from tables: neither a protobuf compiler nor generated code is needed.
The tables hold what PYNQ's own client uses, in the order of its four services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PROTO = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _PROTO.TYPE_BOOL,
    "bytes": _PROTO.TYPE_BYTES,
    "int32": _PROTO.TYPE_INT32,
    "string": _PROTO.TYPE_STRING,
    "uint32": _PROTO.TYPE_UINT32,
    "uint64": _PROTO.TYPE_UINT64,
}

Fields = Mapping[str, tuple[int, str]]
"""Field -> number, type."""

_BUFFER: Fields = {"buffer_id": (1, "string")}
_MSG: Fields = {"msg": (2, "string")}
_ADDRESS: Fields = {**_MSG, "address": (3, "uint64")}
_PIN: Fields = {"gpio_id": (1, "string")}
_CHIP: Fields = {"target_label": (1, "string")}
_MMIO: Fields = {"mmio_id": (1, "string")}
_STATUS: Fields = {"status": (1, "bool"), **_MSG}


@dataclass(frozen=True)
class Method:
    """A remote procedure: fields of request and response, and which of them are streams."""

    request: Fields
    response: Fields
    request_stream: bool = False
    response_stream: bool = False


SERVICES: Mapping[str, Mapping[str, Method]] = {
    "remote_device.RemoteDevice": {
        "existsfile": Method({"file_path": (1, "string")}, {"exists": (1, "bool")}),
        "readfile": Method(
            {"file_path": (1, "string")}, {"data": (1, "bytes")}, response_stream=True
        ),
        "writefile": Method(
            {"file_path": (1, "string"), "data": (2, "bytes")}, {}, request_stream=True
        ),
        "set_bitstream_attrs": Method(
            {"binfile_name": (1, "string"), "partial": (2, "bool")}, {"status": (1, "bool")}
        ),
    },
    "mmio.Mmio": {
        "get_mmio": Method(
            {"base_addr": (1, "uint64"), "length": (2, "uint64")},
            {**_STATUS, "mmio_id": (3, "string")},
        ),
        "read": Method(
            {**_MMIO, "length": (2, "uint64"), "offset": (3, "uint64"),
             "word_order": (4, "string")},
            {**_STATUS, "data": (3, "uint32")},
        ),
        "write": Method({**_MMIO, "offset": (2, "uint64"), "data": (3, "bytes")}, _STATUS),
    },
    "buffer.RemoteBuffer": {
        "allocate": Method(
            {"size": (1, "int32"), "dtype": (2, "string"), "cacheable": (3, "bool")},
            {**_MSG, "buffer_id": (3, "string")},
        ),
        "write": Method(
            {**_BUFFER, "data": (2, "bytes"), "start": (3, "int32"), "end": (4, "int32")},
            _MSG, request_stream=True,
        ),
        "read": Method(
            {**_BUFFER, "start": (2, "int32"), "end": (3, "int32")},
            {**_MSG, "data": (3, "bytes")}, response_stream=True,
        ),
        "freebuffer": Method(_BUFFER, _MSG),
        "flush": Method(_BUFFER, _MSG),
        "invalidate": Method(_BUFFER, _MSG),
        "physical_address": Method(_BUFFER, _ADDRESS),
        "virtual_address": Method(_BUFFER, _ADDRESS),
        "cacheable": Method(_BUFFER, {**_MSG, "cacheable": (3, "bool")}),
    },
    "gpio.Gpio": {
        "get_gpio": Method(
            {"index": (1, "int32"), "direction": (2, "string")},
            {"message": (2, "string"), "gpio_id": (3, "string")},
        ),
        "read": Method(_PIN, {"message": (2, "string"), "value": (3, "int32")}),
        "write": Method({**_PIN, "value": (2, "int32")}, {}),
        "unexport": Method(_PIN, {}),
        "is_exported": Method(_PIN, {"is_exported": (3, "bool")}),
        "get_gpio_base_path": Method(_CHIP, {"base_path": (3, "string")}),
        "get_gpio_npins": Method(_CHIP, {"npins": (1, "int32")}),
    },
}  # fmt: skip
"""Service -> method -> its messages. PYNQ 3.1 reads ``data`` of a register as int32: the same bits,
so that values from 2^31 on are negative there."""


@dataclass(frozen=True)
class Messages:
    """Classes of a method's messages."""

    request: Any
    response: Any


def message_classes() -> Mapping[tuple[str, str], Messages]:
    """The classes of every (service, method), apart from any that PYNQ has registered itself."""
    pool = descriptor_pool.DescriptorPool()
    for service, methods in SERVICES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{service}.proto", package=service, syntax="proto3"
        )
        for name, method in methods.items():
            _add(file, f"{name}_request", method.request)
            _add(file, f"{name}_response", method.response)
        pool.Add(file)

    def message(service: str, name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{service}.{name}"))

    return {
        (service, name): Messages(
            message(service, f"{name}_request"), message(service, f"{name}_response")
        )
        for service, methods in SERVICES.items()
        for name in methods
    }


def _add(file: descriptor_pb2.FileDescriptorProto, name: str, fields: Fields) -> None:
    message = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        message.field.add(name=field, number=number, type=_TYPES[kind], label=_PROTO.LABEL_OPTIONAL)
