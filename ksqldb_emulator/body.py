"""Sends a query's answer, and applies the scripted faults that cut it."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from ksqldb_emulator.faults import Fault


class Cut(Exception):
    """A scripted fault has ended the answer."""


class _UnchunkedResponse(web.StreamResponse):
    """A body without chunks or length: only the end of the connection ends it."""

    _length_check = False


class Body:
    """An answer's body while it is sent, with its scripted fault."""

    def __init__(self, request: web.Request, fault: Fault, content_type: str, status: int = 200) -> None:
        kind = _UnchunkedResponse if fault.unchunked else web.StreamResponse
        self._response = kind(status=status, headers={"Content-Type": content_type})
        if fault.unchunked:
            self._response.force_close()
        else:
            self._response.enable_chunked_encoding()
        self._request, self._fault, self._sent, self._rest = request, fault, 0, b""

    async def start(self) -> None:
        await self._response.prepare(self._request)

    async def write(self, text: str, last: bool = False) -> None:
        data = text.encode()
        size = self._fault.chunk_bytes
        if size is None:
            return await self._write(data)
        self._rest += data
        while len(self._rest) >= size or (last and self._rest):
            piece, self._rest = self._rest[:size], self._rest[size:]
            await self._write(piece)
        return None

    async def _write(self, data: bytes) -> None:
        cut = self._fault.cut_at
        if cut is not None and self._sent + len(data) > cut:
            await self._response.write(data[: cut - self._sent])
            await self._end_early()
        await self._response.write(data)
        self._sent += len(data)

    async def _end_early(self) -> None:
        transport = self._request.transport
        if self._fault.clean or transport is None:
            await self._response.write_eof()
        elif self._fault.reset:
            await asyncio.sleep(0.002)  # so that the bytes are sent before the reset
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        raise Cut

    async def end(self) -> web.StreamResponse:
        await self._response.write_eof()
        if self._fault.unchunked and self._request.transport is not None:
            self._request.transport.close()
        return self._response

    def break_off(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    @property
    def response(self) -> web.StreamResponse:
        return self._response

    @property
    def is_gone(self) -> bool:
        return self._request.transport is None or self._request.transport.is_closing()
