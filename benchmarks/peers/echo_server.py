"""The least that a server of the Open Inference Protocol in Python can do: it answers each ModelInfer alike.

No token, no check, no network; one process, one event loop. Prints its port.
"""

import asyncio
import sys
from typing import Any

import grpc
from flare.open_inference import grpc_service_pb2 as pb


async def answer(request: pb.ModelInferRequest, _: "grpc.aio.ServicerContext[Any, Any]") -> pb.ModelInferResponse:
    """As many bytes as a network of two classes answers."""
    rows = request.inputs[0].shape[0]
    output = pb.ModelInferResponse.InferOutputTensor(name="probabilities", datatype="FP32", shape=[rows, 2])
    return pb.ModelInferResponse(
        model_name=request.model_name,
        model_version="1",
        id=request.id,
        outputs=[output],
        raw_output_contents=[b"\0" * 8 * rows],
    )


def handler() -> Any:
    """What gRPC calls for each message."""
    return grpc.unary_unary_rpc_method_handler(
        answer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )


def bare_server() -> tuple[grpc.aio.Server, int]:
    """A server that is yet to be started, and its port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler()})]
    )
    return server, server.add_insecure_port("127.0.0.1:0")


async def main() -> None:
    """Serves until it is ended."""
    server, port = bare_server()
    print(port, flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
