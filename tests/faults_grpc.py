"""A real gRPC server on 127.0.0.1 that answers every method with the status a test asks for."""

from __future__ import annotations

import threading
from concurrent import futures
from typing import TYPE_CHECKING, Self

import grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GrpcFaultServer"]


class GrpcFaultServer:
    """Aborts every call of every service, or leaves it hanging; healthy calls are answered with an empty message.

    ::

        with GrpcFaultServer() as server:
            server.abort("RESOURCE_EXHAUSTED", "Quota exceeded")
            grpc.insecure_channel(server.target).unary_unary("/any.Service/Method")(b"")
            assert server.calls == ["/any.Service/Method"]

    Attributes:
        target: ``127.0.0.1:port``.
        calls: the methods that were called, in order.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._fault: tuple[grpc.StatusCode, str, Sequence[tuple[str, str | bytes]]] | None = None
        self._hanging = False
        self._stopped = threading.Event()
        self._pool = futures.ThreadPoolExecutor(max_workers=8, thread_name_prefix="grpc fault server")
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((_Everything(self),))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def abort(self, code: str, details: str = "", trailers: Sequence[tuple[str, str | bytes]] = ()) -> None:
        """Fail every call with the status of this name."""
        self._hanging = False
        self._fault = grpc.StatusCode[code], details, trailers

    def hang(self) -> None:
        """Answer no call until the end."""
        self._hanging = True

    def heal(self) -> None:
        """Answer every call with an empty message."""
        self._hanging, self._fault = False, None

    def serve(self, method: str, context: grpc.ServicerContext) -> bytes:
        """One call."""
        self.calls.append(method)
        if self._hanging:
            self._stopped.wait()
        if self._fault is not None:
            code, details, trailers = self._fault
            context.set_trailing_metadata(tuple(trailers))
            context.abort(code, details)
        return b""

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._server.stop(None).wait()
        self._pool.shutdown(wait=True)


class _Everything(grpc.GenericRpcHandler):
    """Every method, as bytes in and bytes out; a stream in either direction looks alike on the wire."""

    def __init__(self, server: GrpcFaultServer) -> None:
        self._server = server

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(lambda _request, context: self._server.serve(method, context))
