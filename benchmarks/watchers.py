"""Many watchers of one training in a process of their own; they read as little of what they get as can be."""

import asyncio
from dataclasses import dataclass
from multiprocessing.connection import Connection

import grpc
from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flare.ml.v1 import training_service_pb2

METHOD = "/flare.ml.v1.TrainingService/WatchTrainingJob"
WATCHERS_OF_A_CHANNEL = 50


@dataclass(frozen=True)
class Services:
    """Where they are, and who watches."""

    auth_address: str
    ml_address: str
    username: str
    password: str


def watch_when_told(connection: Connection, services: Services, job: str, count: int) -> None:
    """Attaches `count` watchers for each sequence that comes, answers, and lets go of them for each None.

    The answer comes when each has its first message, and when all are gone. Ends with the connection.
    """
    asyncio.run(_watch_when_told(connection, services, job, count))


async def _watch_when_told(connection: Connection, services: Services, job: str, count: int) -> None:
    channels = [
        grpc.aio.insecure_channel(services.ml_address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(0, count, WATCHERS_OF_A_CHANNEL)
    ]
    async with grpc.aio.insecure_channel(services.auth_address) as channel:
        login = auth_service_pb2.LoginRequest(username=services.username, password=services.password)
        token = (await auth_service_pb2_grpc.AuthServiceStub(channel).Login(login)).access_token
    metadata = (("authorization", f"Bearer {token}"),)
    watching: list[asyncio.Task[None]] = []
    while True:
        try:
            after = await asyncio.to_thread(connection.recv)
        except EOFError:
            break
        if after is None:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            watching.clear()
        else:
            request = training_service_pb2.WatchTrainingJobRequest(name=job, after_sequence=after).SerializeToString()
            attached = [asyncio.Event() for _ in range(count)]
            watching += [
                asyncio.create_task(_watch(channels[number // WATCHERS_OF_A_CHANNEL], request, metadata, event))
                for number, event in enumerate(attached)
            ]
            for event in attached:
                await event.wait()
        connection.send(None)
    for channel in channels:
        await channel.close()


async def _watch(
    channel: grpc.aio.Channel, request: bytes, metadata: tuple[tuple[str, str], ...], attached: asyncio.Event
) -> None:
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(METHOD)
    call = method(request, metadata=metadata)
    while await call.read() is not grpc.aio.EOF:
        attached.set()
