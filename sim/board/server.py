"""A simulated board on the network: PYNQ's client cannot tell it from one with silicon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc

from sim.board.board import Board
from sim.board.errors import BoardError
from sim.board.protocol import SERVICES, Messages, Method, message_classes
from sim.board.services import services
from sim.model import ProtocolError

PORT = 7967
"""Where PYNQ's client looks for a board; only the address can be told it from outside."""
_CHUNK_BYTES = 2 << 20
_MESSAGE_BYTES = 64 << 20
_THREADS = 4


class BoardServer:
    """Serves a board from construction to ``close``; one remote call at a time reaches it.

    Parameters
    ----------
    address:
        Of this machine: all of 127.0.0.0/8 are loopback on Linux, so that several boards can serve
        at the one port that the client knows.
    port:
        0 takes a free one.

    Attributes
    ----------
    port:
        Where it listens.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, board: Board, address: str = "127.0.0.1", port: int = PORT) -> None:
        _check_free(address, port)
        self._board = board
        self._lock = threading.Lock()
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS),
            options=[
                ("grpc.so_reuseport", 0),  # a second server on the port is an error
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
            ],
        )
        self._server.add_generic_rpc_handlers(tuple(self._handlers()))
        self.port: int = self._server.add_insecure_port(f"{address}:{port}")
        self._server.start()

    def wait(self) -> None:
        """Until the server is closed."""
        self._server.wait_for_termination()

    def close(self) -> None:
        """Stop serving, and empty the board's logic."""
        self._server.stop(grace=None).wait()
        with self._lock:
            self._board.close()

    def __enter__(self) -> BoardServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _handlers(self) -> Iterator[Any]:
        classes = message_classes()
        for service, servicer in services(self._board).items():
            yield grpc.method_handlers_generic_handler(
                service,
                {
                    name: self._handler(method, classes[service, name], getattr(servicer, name))
                    for name, method in SERVICES[service].items()
                },
            )

    def _handler(
        self, method: Method, messages: Messages, function: Callable[..., Mapping[str, Any]]
    ) -> Any:
        def call(request: Any, context: Any) -> Mapping[str, Any]:
            arguments = {name: getattr(request, name) for name in method.request}
            try:
                with self._lock:
                    return function(**arguments)
            except (BoardError, ProtocolError) as error:
                return _refusal(method, str(error), context)

        def joined(requests: Iterable[Any], context: Any) -> Any:
            return messages.response(**call(_join(requests, messages.request, context), context))

        def cut(request: Any, context: Any) -> Iterator[Any]:
            answer = call(request, context)
            data = memoryview(answer.get("data", b""))
            if len(data) <= _CHUNK_BYTES:
                yield messages.response(**answer)
                return
            for first in range(0, len(data), _CHUNK_BYTES):
                yield messages.response(data=bytes(data[first : first + _CHUNK_BYTES]))

        def plain(request: Any, context: Any) -> Any:
            return messages.response(**call(request, context))

        coding = (messages.request.FromString, messages.response.SerializeToString)
        if method.request_stream:
            return grpc.stream_unary_rpc_method_handler(joined, *coding)
        if method.response_stream:
            return grpc.unary_stream_rpc_method_handler(cut, *coding)
        return grpc.unary_unary_rpc_method_handler(plain, *coding)


def _check_free(address: str, port: int) -> None:
    """``OSError`` where one cannot listen: gRPC would write its own text to stderr before."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise OSError(
                f"cannot listen at {address}:{port} ({error.strerror}): another server may be "
                "there; choose another address of this machine, such as 127.0.0.2"
            ) from error


def _join(requests: Iterable[Any], request: Any, context: Any) -> Any:
    """One request with the data of all; the other fields are those of the first."""
    parts = list(requests)
    if not parts:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an empty stream of requests")
    joined = request()
    joined.CopyFrom(parts[0])
    joined.data = b"".join(part.data for part in parts)
    return joined


def _refusal(method: Method, text: str, context: Any) -> Mapping[str, Any]:
    """In the response where it has a place for it, as the client expects; else as gRPC's status."""
    if "msg" not in method.response:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
    return {"msg": text}
