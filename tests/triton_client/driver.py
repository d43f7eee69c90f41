"""Drives a server with NVIDIA's unmodified client, by all the ways that it has, and prints what came as JSON.

Runs with the Python of `environment.py`, which has nothing of Flare: `driver.py ADDRESS TOKEN MIXED IMAGES`.
"""

import asyncio
import json
import queue
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import ml_dtypes  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-not-found]
import tritonclient.grpc.aio as triton_aio  # type: ignore[import-not-found]
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # type: ignore[import-not-found]

Array = np.ndarray[Any, np.dtype[Any]]
CALLS = 20


def tensor(name: str, values: Array, module: Any = triton) -> Any:
    """An input of an array; texts are an array of objects."""
    made = module.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values)
    return made


def columns(module: Any = triton, **changed: Array | None) -> list[Any]:
    """Two good rows of the mixed model, with some columns changed or left out."""
    good: dict[str, Array | None] = {
        "age": np.array([[1.5], [np.nan]]),
        "count": np.array([[3], [4]], np.int64),
        "flag": np.array([[True], [False]]),
        "day": np.array([[86_400_000_000], [0]], np.int64),
        "kind": np.array([[b"a"], [b"other"]], np.object_),
        "city": np.array([[b"city 3"], [b""]], np.object_),
    }
    return [tensor(name, value, module) for name, value in (good | changed).items() if value is not None]


def shared(name: str) -> Any:
    """An input that lies in shared memory."""
    made = triton.InferInput(name, [2, 1], "FP64")
    made.set_shared_memory("region", 16)
    return made


def one_row(count: int, module: Any = triton) -> list[Any]:
    """A row whose price tells which one it is."""
    row = {"age": 1.5, "count": count, "flag": True, "day": 0, "kind": b"a", "city": b"city 3"}
    dtypes = {"count": np.int64, "day": np.int64, "kind": np.object_, "city": np.object_}
    return [tensor(name, np.array([[value]], dtypes.get(name)), module) for name, value in row.items()]


def read(result: Any, *names: str) -> dict[str, Any]:
    """Outputs by name as lists."""
    names = names or tuple(output.name for output in result.get_response().outputs)
    found = {name: result.as_numpy(name) for name in names}
    return {
        name: (np.char.decode(value.astype(bytes)) if value.dtype == object else value).tolist()
        for name, value in found.items()
    }


def refused(call: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, str]:
    """How a call fails."""
    try:
        call(*args, **kwargs)
    except InferenceServerException as error:
        return {"status": str(error.status()), "message": str(error.message())}
    return {"status": "OK", "message": ""}


class Drive:
    """One client with its token."""

    def __init__(self, address: str, token: str, mixed: str, images: str) -> None:
        self.address = address
        self.headers = {"authorization": f"Bearer {token}"}
        self.mixed = mixed
        self.images = images
        self.client = triton.InferenceServerClient(address)

    def infer(self, model: str, inputs: Sequence[Any], **kwargs: Any) -> Any:
        """Infers with the token."""
        return self.client.infer(model, inputs, headers=self.headers, **kwargs)

    def health(self) -> dict[str, Any]:
        """Probes; the first two without a token."""
        ready = self.client.is_model_ready
        return {
            "live": self.client.is_server_live(),
            "ready": self.client.is_server_ready(),
            "model": ready(self.mixed, headers=self.headers),
            "version": ready(self.mixed, "1", headers=self.headers),
            "alias": ready(self.mixed, "prod", headers=self.headers),
            "missing_version": ready(self.mixed, "9", headers=self.headers),
            "missing": ready("nobody", headers=self.headers),
        }

    def descriptions(self) -> dict[str, Any]:
        """What the server says of itself, of a model and of its repository."""
        client, options = self.client, {"headers": self.headers, "as_json": True}
        index = client.get_model_repository_index(**options)["models"]
        return {
            "server": client.get_server_metadata(**options),
            "metadata": client.get_model_metadata(self.mixed, **options),
            "config": client.get_model_config(self.mixed, "prod", **options)["config"],
            "index": [entry for entry in index if entry["name"] in (self.mixed, self.images)],
            "shared_memory": client.get_system_shared_memory_status(**options),
            "cuda_shared_memory": client.get_cuda_shared_memory_status(**options),
        }

    def memory(self) -> dict[str, Any]:
        """Leaves memory and comes back, and is counted; the answers are the same."""
        client, headers = self.client, self.headers
        before = client.get_inference_statistics(self.mixed, "1", headers=headers).model_stats[0]
        answers = [read(self.infer(self.mixed, columns()))]
        client.unload_model(self.mixed, headers=headers)
        answers.append(read(self.infer(self.mixed, columns())))
        client.load_model(self.mixed, headers=headers)
        answers.append(read(self.infer(self.mixed, columns())))
        refused(self.infer, self.mixed, columns(age=None))
        after = client.get_inference_statistics(self.mixed, "1", headers=headers).model_stats[0]
        client.unregister_system_shared_memory(headers=headers)
        client.unregister_cuda_shared_memory(headers=headers)
        return {
            "answers": answers,
            "rows": after.inference_count - before.inference_count,
            "success": after.inference_stats.success.count - before.inference_stats.success.count,
            "failure": after.inference_stats.fail.count - before.inference_stats.fail.count,
            "nanoseconds": after.inference_stats.compute_infer.ns,
            "last_inference": after.last_inference,
            "all": [stats.name for stats in client.get_inference_statistics(headers=headers).model_stats],
        }

    def columns(self) -> dict[str, Any]:
        """A table by columns, in several forms."""
        chosen = [
            triton.InferRequestedOutput("species_probabilities", class_count=2),
            triton.InferRequestedOutput("price"),
        ]
        whole = self.infer(self.mixed, columns(), request_id="seven")
        response = whole.get_response()
        parameters = {"text": "x", "number": 3, "flag": True}
        return {
            "answer": read(whole),
            "names": [response.model_name, response.model_version, response.id],
            "shapes": [[output.datatype, *output.shape] for output in response.outputs],
            "chosen": read(self.infer(self.mixed, columns(), model_version="prod", outputs=chosen)),
            "flat": read(self.infer(self.mixed, columns(count=np.array([3, 4])))),
            "gzip": read(self.infer(self.mixed, columns(), compression_algorithm="gzip", parameters=parameters)),
        }

    def datatypes(self) -> dict[str, Any]:
        """The price for the same numbers in every datatype."""
        dtypes = [np.bool_, np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]
        dtypes += [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
        forms: list[Array] = [np.array([[1], [0]]).astype(dtype) for dtype in dtypes]
        forms.append(np.array([[b"1"], [b"0"]], np.object_))
        answers: dict[str, Any] = {}
        for form in forms:
            result = self.infer(self.mixed, columns(count=form, flag=form))
            answers[np_to_triton_dtype(form.dtype)] = read(result)
        return answers

    def features(self, features: Any, pixels: Any) -> dict[str, Any]:
        """Prepared features, and images in each of their forms."""
        prepared, image = np.array(features, np.float32), np.array(pixels, np.uint8)
        levels = image.transpose(0, 3, 1, 2).astype(np.float32)
        return {
            "mixed": read(self.infer(self.mixed, [tensor("features", prepared)])),
            "pixels": read(self.infer(self.images, [tensor("image", image)])),
            "levels": read(self.infer(self.images, [tensor("features", levels)])),
            "flat_levels": read(self.infer(self.images, [tensor("features", levels.reshape(len(image), -1))])),
        }

    def encoded(self, files: list[bytes]) -> dict[str, Any]:
        """Encoded images."""
        return read(self.infer(self.images, [tensor("image", np.array(files, np.object_)[:, None])]))

    def asynchronous(self) -> list[Any]:
        """Calls in flight together, each with its own answer."""
        done: queue.Queue[tuple[str, Any]] = queue.Queue()

        def answered(result: Any, error: Any) -> None:
            done.put((result.get_response().id, read(result, "price")) if error is None else ("", str(error)))

        for number in range(CALLS):
            self.client.async_infer(self.mixed, one_row(number), answered, request_id=str(number), headers=self.headers)
        return sorted([done.get(timeout=60) for _ in range(CALLS)], key=lambda each: int(each[0] or -1))

    def stream(self) -> list[Any]:
        """One stream with a bad request in its midst."""
        done: queue.Queue[Any] = queue.Queue()

        def answered(result: Any, error: Any) -> None:
            if error is not None:
                done.put(str(error.message()))
            else:
                response = result.get_response()
                final = response.parameters["triton_final_response"].bool_param
                done.put([response.id, final, read(result, "price")])

        self.client.start_stream(answered, headers=self.headers)
        for number in range(CALLS):
            inputs = one_row(number)[:-1] if number == 3 else one_row(number)
            self.client.async_stream_infer(
                self.mixed, inputs, request_id=str(number), enable_empty_final_response=number == 5
            )
        answers = [done.get(timeout=60) for _ in range(CALLS)]
        self.client.stop_stream()
        return answers

    def asyncio(self) -> dict[str, Any]:
        """The client's other half."""
        return asyncio.run(self._asyncio())

    async def _asyncio(self) -> dict[str, Any]:
        async with triton_aio.InferenceServerClient(self.address) as client:
            ready = await client.is_model_ready(self.mixed, headers=self.headers)
            calls = [
                client.infer(self.mixed, one_row(number, triton_aio), headers=self.headers) for number in range(CALLS)
            ]
            together = [read(result, "price") for result in await asyncio.gather(*calls)]

            async def requests() -> AsyncIterator[dict[str, Any]]:
                for number in range(CALLS):
                    yield {"model_name": self.mixed, "inputs": one_row(number, triton_aio), "request_id": str(number)}

            streamed = []
            async for result, error in client.stream_infer(requests(), headers=self.headers):
                streamed.append(read(result, "price") if error is None else str(error))
            return {"ready": ready, "together": together, "streamed": streamed}

    def refusals(self) -> dict[str, Any]:
        """What does not fit."""
        client, headers = self.client, self.headers
        infer, mixed = self.infer, self.mixed
        wide = np.zeros((2, 3))
        rows = np.zeros((1_000_001, 1), np.int8)
        return {
            "no token": refused(client.infer, mixed, columns()),
            "bad token": refused(client.infer, mixed, columns(), headers={"authorization": "Bearer x"}),
            "no model": refused(infer, "nobody", columns()),
            "no version": refused(infer, mixed, columns(), model_version="9"),
            "no alias": refused(infer, mixed, columns(), model_version="beta"),
            "no name": refused(infer, "Not A Name", columns()),
            "version twice": refused(infer, f"{mixed}@prod", columns(), model_version="1"),
            "shape": refused(infer, mixed, columns(age=wide)),
            "rows differ": refused(infer, mixed, columns(age=np.zeros((3, 1)))),
            "no rows": refused(infer, mixed, columns(age=np.zeros((0, 1)))),
            "too many rows": refused(infer, mixed, columns(count=rows)),
            "missing": refused(infer, mixed, columns(age=None)),
            "unknown": refused(infer, mixed, columns(size=np.zeros((2, 1)))),
            "value": refused(infer, mixed, columns(count=np.array([[np.nan], [1.0]]))),
            "text": refused(infer, mixed, columns(kind=np.array([[b"\xff"], [b"a"]], np.object_))),
            "features beside columns": refused(infer, mixed, [*columns(), tensor("features", wide.astype(np.float32))]),
            "input in shared memory": refused(infer, mixed, [shared("age"), *columns(age=None)]),
            "features": refused(infer, mixed, [tensor("features", wide.astype(np.float32))]),
            "features type": refused(infer, mixed, [tensor("features", np.array([[True]]))]),
            "output": refused(infer, mixed, columns(), outputs=[triton.InferRequestedOutput("size")]),
            "classes": refused(infer, mixed, columns(), outputs=[triton.InferRequestedOutput("price", class_count=1)]),
            "image": refused(infer, self.images, [tensor("image", np.zeros((1, 9, 9, 3), np.uint8))]),
            "image type": refused(infer, self.images, [tensor("image", np.zeros((1, 4, 5, 3), np.float32))]),
            "message": refused(infer, mixed, [tensor("features", np.zeros((5_000_000, 1), np.float32))]),
            "metadata": refused(client.get_model_metadata, "nobody", headers=headers),
            "load": refused(client.load_model, "nobody", headers=headers),
            "load with config": refused(client.load_model, mixed, headers=headers, config="{}"),
            "shared memory": refused(client.register_system_shared_memory, "a", "/a", 8, headers=headers),
            "trace": refused(client.get_trace_settings, headers=headers),
            "log": refused(client.get_log_settings, headers=headers),
        }


def main(address: str, token: str, mixed: str, images: str) -> None:
    """Prints a JSON object with what each way gave; features and pixels come by standard input."""
    given = json.load(sys.stdin)
    drive = Drive(address, token, mixed, images)
    found = {
        "health": drive.health(),
        "descriptions": drive.descriptions(),
        "columns": drive.columns(),
        "datatypes": drive.datatypes(),
        "features": drive.features(given["features"], given["pixels"]),
        "encoded": drive.encoded([bytes.fromhex(file) for file in given["files"]]),
        "asynchronous": drive.asynchronous(),
        "stream": drive.stream(),
        "asyncio": drive.asyncio(),
        "memory": drive.memory(),
        "refusals": drive.refusals(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
