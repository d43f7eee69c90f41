"""What a module that can't be captured raises."""

import grpc

from flare_client.errors import FlareError


class CaptureError(FlareError):
    """A module does something that a graph can't express. The message names the module or line, and the remedy."""

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, "", f"{place}: {problem}: {remedy}")
