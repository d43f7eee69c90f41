"""MLServer and TorchServe with the networks of benchmarks/peers/eager_networks.py, in environments of their own.

`benchmarks/peers/install_mlserver.sh` and `install_torchserve.sh` make these.
"""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
from flare.open_inference import grpc_service_pb2 as pb

from benchmarks.http2_load import Load, load

MLSERVER_PYTHON = "FLARE_BENCHMARK_MLSERVER_PYTHON"
TORCHSERVE_PYTHON = "FLARE_BENCHMARK_TORCHSERVE_PYTHON"
KINDS = ("mlp", "cnn")
START_SECONDS = 120
PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """A server that answers `method` at an address, and has to be asked in raw bytes or in typed contents."""

    address: str
    method: str
    takes_raw: bool

    def load(self, request: pb.ModelInferRequest, clients: int, calls: int) -> Load:
        """A load of calls like this one, the first of which is looked at."""
        message = self._in_its_form(request)
        with grpc.insecure_channel(self.address) as channel:
            call = channel.unary_unary(
                self.method,
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            rows = call(message, timeout=30).outputs[0].shape[0]
        if rows != request.inputs[0].shape[0]:
            raise RuntimeError(f"{self.address} answered {rows} rows")
        return load(self.address, self.method, message.SerializeToString(), {}, clients, calls)

    def _in_its_form(self, request: pb.ModelInferRequest) -> pb.ModelInferRequest:
        if self.takes_raw:
            return request
        typed = pb.ModelInferRequest()
        typed.CopyFrom(request)
        typed.model_version = "1.0"
        numbers = memoryview(typed.raw_input_contents[0]).cast("f")
        typed.inputs[0].contents.fp32_contents.extend(numbers)
        del typed.raw_input_contents[:]
        return typed


@contextmanager
def mlserver() -> Iterator[Peer]:
    """MLServer in one process: with workers beside it each call costs more."""
    python = os.environ[MLSERVER_PYTHON]
    ports = dict(zip(("http_port", "grpc_port", "metrics_port"), _free_ports(3), strict=True))
    with tempfile.TemporaryDirectory() as name:
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "metrics_endpoint": None, **ports}
        (Path(name) / "settings.json").write_text(json.dumps(settings))
        for kind in KINDS:
            folder = Path(name) / kind
            folder.mkdir()
            model = {"name": kind, "implementation": "benchmarks.peers.mlserver_runtime.EagerNetwork"}
            (folder / "model-settings.json").write_text(json.dumps(model))
        command = [str(Path(python).parent / "mlserver"), "start", name]
        peer = Peer(f"127.0.0.1:{ports['grpc_port']}", "/inference.GRPCInferenceService/ModelInfer", takes_raw=True)
        with _running(command, Path(name), {"PYTHONPATH": os.getcwd()}, peer):
            yield peer


@contextmanager
def torchserve(batch: int) -> Iterator[Peer]:
    """TorchServe with one worker for each network, which gets up to `batch` calls at a time."""
    python = Path(os.environ[TORCHSERVE_PYTHON])
    inference, management, metrics, grpc_inference, grpc_management = _free_ports(5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {}
        for kind in KINDS:
            archive = [str(python.parent / "torch-model-archiver"), "--model-name", kind, "--version", "1.0"]
            archive += ["--handler", str(PEERS / "torchserve_handler.py"), "--export-path", name]
            subprocess.run(
                [*archive, "--extra-files", str(PEERS / "eager_networks.py")], check=True, capture_output=True
            )
            worker = {"minWorkers": 1, "maxWorkers": 1, "batchSize": batch, "maxBatchDelay": 1, "responseTimeout": 120}
            models[kind] = {"1.0": {"defaultVersion": True, "marName": f"{kind}.mar", **worker}}
        lines = {
            "inference_address": f"http://127.0.0.1:{inference}",
            "management_address": f"http://127.0.0.1:{management}",
            "metrics_address": f"http://127.0.0.1:{metrics}",
            "grpc_inference_port": grpc_inference,
            "grpc_management_port": grpc_management,
            "enable_metrics_api": "false",
            "disable_token_authorization": "true",
            "model_store": name,
            "load_models": "all",
            "models": json.dumps(models),
        }
        config = folder / "config.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        command = [str(python.parent / "torchserve"), "--start", "--foreground", "--disable-token-auth"]
        command += ["--model-store", name, "--ts-config", str(config)]
        environment = {
            "TS_OPEN_INFERENCE_PROTOCOL": "oip",
            "LOG_LOCATION": name,
            "METRICS_LOCATION": name,
            "TMPDIR": name,  # where it notes that it runs
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        }
        method = "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer"
        peer = Peer(f"127.0.0.1:{grpc_inference}", method, takes_raw=False)
        with _running(command, folder, environment, peer):
            yield peer


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def _running(command: list[str], folder: Path, environment: Mapping[str, str], peer: Peer) -> Iterator[None]:
    """Runs a server until the block ends; the block begins when it answers for every network."""
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(peer, process, log)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _wait_until_ready(peer: Peer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    method = peer.method.replace("ModelInfer", "ModelReady")
    until = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(peer.address) as channel:
        is_ready = channel.unary_unary(
            method,
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )
        while time.monotonic() < until and process.poll() is None:
            try:
                if all(
                    is_ready(pb.ModelReadyRequest(name=kind), timeout=5, wait_for_ready=True).ready for kind in KINDS
                ):
                    return
            except grpc.RpcError:
                time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not become ready:\n{log.read_text()[-4000:]}")
