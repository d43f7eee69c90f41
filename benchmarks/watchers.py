"""Many watchers of one training in a process of their own.

They stand for other machines': they speak just enough of HTTP/2 to be sent every message, and make nothing of it, so
that what they themselves cost is little beside what the server does for them.
"""

import asyncio
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import grpc
from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flare.ml.v1 import training_service_pb2

METHOD = "/flare.ml.v1.TrainingService/WatchTrainingJob"
WATCHERS_OF_A_CONNECTION = 50
READ_BYTES = 1 << 16
# Frames of RFC 9113, section 6.
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
LARGEST_WINDOW, FIRST_WINDOW = 2**31 - 1, 65_535


@dataclass(frozen=True)
class Services:
    """Where they are, and who watches."""

    auth_address: str
    ml_address: str
    username: str
    password: str


def watch_when_told(connection: Connection, services: Services, job: str, count: int) -> None:
    """Attaches `count` watchers for each sequence that comes, answers, and lets go of them for each None.

    The answer comes when each has had a message, and when all are gone: then it is how many messages came. Ends with
    the connection.
    """
    asyncio.run(_watch_when_told(connection, services, job, count))


async def _watch_when_told(connection: Connection, services: Services, job: str, count: int) -> None:
    token = await _token(services)
    watchers: list[_Watchers] = []
    while True:
        try:
            after = await asyncio.to_thread(connection.recv)
        except EOFError:
            return
        if after is None:
            connection.send(sum([await each.detach() for each in watchers]))
            watchers.clear()
            continue
        request = training_service_pb2.WatchTrainingJobRequest(name=job, after_sequence=after).SerializeToString()
        for first in range(0, count, WATCHERS_OF_A_CONNECTION):
            of_connection = min(WATCHERS_OF_A_CONNECTION, count - first)
            watchers.append(await _Watchers.attach(services.ml_address, token, request, of_connection))
        for each in watchers:
            await each.attach_all()
        connection.send(None)


async def _token(services: Services) -> str:
    async with grpc.aio.insecure_channel(services.auth_address) as channel:
        login = auth_service_pb2.LoginRequest(username=services.username, password=services.password)
        return str((await auth_service_pb2_grpc.AuthServiceStub(channel).Login(login)).access_token)


class _Watchers:
    """The watchers of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        self.attached = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._count = count
        self._heard: set[int] = set()
        self._messages = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def attach(cls, address: str, token: str, request: bytes, count: int) -> "_Watchers":
        host, port = address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        writer.write(_frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGEST_WINDOW)))
        writer.write(_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - FIRST_WINDOW)))
        headers = _header_block(address, token)
        for stream in range(1, 2 * count, 2):
            writer.write(_frame(HEADERS, END_HEADERS, stream, headers))
            writer.write(_frame(DATA, END_STREAM, stream, struct.pack(">BI", 0, len(request)) + request))
        return cls(reader, writer, count)

    async def attach_all(self) -> None:
        """Waits until each has had a message. Raises what ended the connection before."""
        attached = asyncio.create_task(self.attached.wait())
        await asyncio.wait([attached, self._reading], return_when=asyncio.FIRST_COMPLETED)
        if not attached.done():
            attached.cancel()
            self._reading.result()
            raise RuntimeError("the server closed the connection")

    async def detach(self) -> int:
        """Closes the connection; how many messages came."""
        if self._reading.done():
            self._reading.result()
        self._reading.cancel()
        self._writer.close()
        return self._messages

    async def _read(self) -> None:
        rest = b""
        while chunk := await self._reader.read(READ_BYTES):
            rest += chunk
            read = 0
            for kind, flags, stream, payload, end in _frames(rest):
                read = end
                if kind == DATA:
                    self._messages += 1
                    self._heard.add(stream)
                elif kind == HEADERS and flags & END_STREAM:
                    raise RuntimeError(f"the server ended a watch: {payload!r}")
                elif kind in (SETTINGS, PING) and not flags & ACK:
                    self._writer.write(_frame(kind, ACK, 0, payload if kind == PING else b""))
            rest = rest[read:]
            if len(self._heard) == self._count:
                self.attached.set()


def _frames(received: bytes) -> Iterator[tuple[int, int, int, bytes, int]]:
    """Kind, flags, stream and payload of each whole frame, and where it ends."""
    at = 0
    while len(received) >= at + 9:
        end = at + 9 + int.from_bytes(received[at : at + 3])
        if end > len(received):
            return
        kind, flags, stream = struct.unpack_from(">BBI", received, at + 3)
        yield kind, flags, stream, received[at + 9 : end], end
        at = end


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def _header_block(address: str, token: str) -> bytes:
    """The headers of a call, each as a literal without indexing (RFC 7541, section 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": address,
        "content-type": "application/grpc",
        "te": "trailers",
        "authorization": f"Bearer {token}",
    }
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers.items())


def _string(text: str) -> bytes:
    """RFC 7541, sections 5.1 and 5.2: the length as an integer with a prefix of 7 bits, then the bytes."""
    length, raw = len(text), text.encode()
    if length < 127:
        return bytes([length]) + raw
    length -= 127
    encoded = [127]
    while length >= 128:
        encoded.append(length % 128 + 128)
        length //= 128
    return bytes([*encoded, length]) + raw
