"""Explains predictions: finds the version, waits for its turn, and has the work done on a thread."""

import asyncio
from functools import partial

from ml_server.explanation.explained import explained
from ml_server.explanation.values import Explanation, ExplanationRequest
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.message_sizes import require_explanation
from ml_server.prediction.observers import Inputs
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.values import VersionReference
from servicekit.images.decoding import ImageDecoder
from servicekit.stopping import in_thread

# Each takes a core for as long as it lasts; others wait for their turn, within their own deadlines.
EXPLANATIONS_AT_A_TIME = 1


class Explainer:
    """Explains one owner's versions at a time; safe to call concurrently."""

    def __init__(
        self, versions: KnownVersions, loaded: LoadedVersions, images: ImageDecoder, message_bytes: int
    ) -> None:
        """`message_bytes` is how many an answer may have."""
        self._message_bytes = message_bytes
        self._versions = versions
        self._loaded = loaded
        self._images = images
        self._turns = asyncio.Semaphore(EXPLANATIONS_AT_A_TIME)

    async def explain(
        self,
        owner: str,
        reference: VersionReference,
        inputs: Inputs,
        request: ExplanationRequest,
        request_id: str = "",
    ) -> Explanation:
        """Explains what the version that `reference` means predicts; that of the id, if it means several.

        If the caller is cancelled, the work ends with it.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED or VALUE_INVALID; INVALID_FIELD, for a target or class
                that there is not, for gradients of a network that has none, and for more rows than an answer holds.
            ResourceExhausted: LIMIT_EXCEEDED, if it would take too long, or for images that take too much memory.
        """
        version = await self._versions.answering(owner, reference, request_id)
        async with self._loaded.using(version) as served:
            require_explanation(served, inputs.rows, self._message_bytes)
            work = partial(explained, version, served, inputs, self._images, request)
            async with self._turns:
                return await in_thread(work)
