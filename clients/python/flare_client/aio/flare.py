"""`connect`: one object for all of Flare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack
from uuid import uuid4

from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flare.ml.v1 import evaluation_pb2, training_job_pb2, training_service_pb2, training_service_pb2_grpc

from flare_client.aio.batch_predictions import BatchPredictionHandle, BatchPredictions
from flare_client.aio.credentials import Credentials
from flare_client.aio.datasets import Datasets
from flare_client.aio.evaluation import COMPARE_SECONDS, Evaluation
from flare_client.aio.jobs import Jobs
from flare_client.aio.login import AuthIssuer, token_source
from flare_client.aio.models import Models
from flare_client.aio.monitoring import Monitoring
from flare_client.aio.predictions import EXPLAIN_SECONDS, Predictions
from flare_client.aio.runtime import Source, Stream, open_channel
from flare_client.aio.service import Service
from flare_client.aio.sweeps import Sweeps
from flare_client.aio.training_jobs import TrainingJobHandle
from flare_client.aio.views import Views
from flare_client.connection_settings import CHANNEL_OPTIONS, ConnectionSettings, connection_settings
from flare_client.names import Reference, model_name, version_name, view_name
from flare_client.plans import PlanOptions, training_plan
from flare_client.profile import ProfileStore
from flare_client.tables.columns import Rows

if TYPE_CHECKING:
    import pandas as pd

CREATE_SECONDS = 120.0  # the model is checked against the view before the answer


def connect(
    *,
    auth: str | None = None,
    scraper: str | None = None,
    ml: str | None = None,
    username: str | None = None,
    password: str | None = None,
    token: str | None = None,
    tls: bool | None = None,
    ca_certificate: str | Path | None = None,
    insecure: bool | None = None,
) -> Flare:
    """Flare at these addresses, as this caller. Nothing is sent before the first call.

    Addresses are `host:port`. What is not given comes from the environment (`FLARE_AUTH_ADDRESS`,
    `FLARE_SCRAPER_ADDRESS`, `FLARE_ML_ADDRESS`, `FLARE_TOKEN`, `FLARE_USERNAME` and `FLARE_PASSWORD`,
    `FLARE_CA_CERTIFICATE`), then from the login that `flare login` stored, then it is 127.0.0.1 with the usual ports.
    With an account or a stored login tokens are renewed as long as needed; a given `token` is used as it is.

    Plain text is for this machine alone: other addresses need `tls` (with `ca_certificate` for an own authority), or
    `insecure=True` to send tokens and data unprotected.

    Raises:
        FlareError: The settings contradict each other, or a plain connection would leave this machine.
    """
    store = ProfileStore()
    settings = connection_settings(
        auth=auth,
        scraper=scraper,
        ml=ml,
        username=username,
        password=password,
        token=token,
        tls=tls,
        ca_certificate=ca_certificate,
        insecure=insecure,
        profile=store.load(),
    )
    return Flare(settings, store)


class Flare:
    """All of Flare for one caller.

    `datasets`, `credentials`, `views`, `models`, `monitoring`, `jobs`, `sweeps` and `batch_predictions`, and `train`,
    `predict`, `explain`, `batch_predict` and `compare`.
    """

    def __init__(self, settings: ConnectionSettings, store: ProfileStore) -> None:
        """`connect` makes it."""
        self._channels = {
            name: open_channel(address, settings.channel_credentials(name), CHANNEL_OPTIONS)
            for name, address in settings.addresses.items()
        }
        issuer = AuthIssuer(Service("auth", settings.addresses["auth"], self._channels["auth"], None))
        tokens = token_source(settings, issuer, store)
        auth, scraper, ml = (
            Service(name, settings.addresses[name], self._channels[name], tokens) for name in ("auth", "scraper", "ml")
        )
        self._auth, self._ml = auth, ml
        self.datasets = Datasets(scraper)
        self.credentials = Credentials(scraper)
        self.views = Views(scraper)
        self.models = Models(ml)
        self.monitoring = Monitoring(ml)
        self.jobs = Jobs(scraper, ml)
        self.sweeps = Sweeps(ml)
        self.batch_predictions = BatchPredictions(ml)
        self._predictions = Predictions(ml)
        self._evaluation = Evaluation(ml)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections. Jobs run on."""
        for channel in self._channels.values():
            await channel.close()

    async def caller(self) -> auth_service_pb2.GetCallerResponse:
        """Who calls, and what it may do."""
        stub = auth_service_pb2_grpc.AuthServiceStub(self._auth.channel)
        return await self._auth.call(stub.GetCaller, auth_service_pb2.GetCallerRequest(), safe=True)

    async def train(
        self,
        model: Reference,
        view: Reference,
        *,
        base_version: Reference | None = None,
        priority: int = 0,
        **plan: Unpack[PlanOptions],
    ) -> TrainingJobHandle:
        """Starts to train a model on a view and returns at once; `.epochs()` follows it, `.wait()` gives the version.

        With a `base_version` (`iris/versions/3`, `iris@prod`, or `iris` for the latest) it starts from the weights of
        that version, of whatever model. Jobs of a higher `priority` (-100 to 100) leave the queue first.

        Raises:
            FlareError: There is no such model or view, they do not fit, or an option is wrong.
        """
        job = training_job_pb2.TrainingJob(
            model=model_name(model),
            view=view_name(view),
            plan=training_plan(plan),
            priority=priority,
            base_version=version_name(base_version) if base_version is not None else "",
        )
        request = training_service_pb2.CreateTrainingJobRequest(training_job=job, request_id=str(uuid4()))
        stub = training_service_pb2_grpc.TrainingServiceStub(self._ml.channel)
        created = await self._ml.call(stub.CreateTrainingJob, request, safe=True, seconds=CREATE_SECONDS)
        return TrainingJobHandle(self._ml, created)

    async def predict(
        self,
        model: Reference,
        rows: Rows,
        *,
        top: int = 0,
        partial: bool = False,
        id: str = "",  # noqa: A002
    ) -> pd.DataFrame:
        """A prediction for each row: a DataFrame, a dict of columns, or a list of dicts, raw values by column name.

        Each target has its column; a classification has `{target}_probability_{class}` for each class too. `model` is
        `iris` for the latest version, `iris@prod`, or `iris/versions/3`. None, NaN and NA are missing values.
        Equal ids get the same version of an alias that is shared out among several.

        With `top` only so many of the most probable classes are told, as `{target}_top_1`, `{target}_top_1_probability`
        and so on. With `partial` rows with a value that can't be taken have missing predictions, and
        `frame.attrs["row_errors"]` says why: dicts of `row`, `column` and `message`.

        Raises:
            FlareError: Such as COLUMN_MISSING or VALUE_INVALID, naming column, row and value.
        """
        return await self._predictions.predict(model, rows, top=top, partial=partial, id=id)

    def predict_stream(
        self,
        model: Reference,
        tables: Source[Rows],
        *,
        top: int = 0,
        partial: bool = False,
        id: str = "",  # noqa: A002
    ) -> Stream[pd.DataFrame]:
        """A frame of predictions for each table of an iterable, in order; for many rows that come in pieces.

        Without an `id` each table is decided by itself if an alias is shared out among versions.
        """
        return self._predictions.predict_stream(model, tables, top=top, partial=partial, id=id)

    async def explain(
        self,
        model: Reference,
        rows: Rows,
        *,
        target: str = "",
        class_label: str = "",
        method: str = "",
        steps: int = 0,
        seed: int = 0,
        id: str = "",  # noqa: A002
        seconds: float = EXPLAIN_SECONDS,
    ) -> pd.DataFrame:
        """How much each column contributed to the prediction for each row, against an average row.

        A frame with a column for each input column, in the target's own unit, or in logits of the class that is
        predicted unless a `class_label` is given. `method` is `integrated_gradients` or `permutation`; the first unless
        the network has no gradients. More `steps` than 50 are more exact, and `seed` decides the orders of permutation.
        `frame.attrs` holds the `outputs` and `baseline_outputs` whose difference a row adds up to, and `class_labels`.
        With the `id` of a prediction by a shared alias it is the version that made it which is explained.
        A request takes `seconds` at most; many rows take several.

        Raises:
            FlareError: As `predict`; INVALID_FIELD, if the version has several targets and none is named.
        """
        return await self._predictions.explain(
            model,
            rows,
            target=target,
            class_label=class_label,
            method=method,
            steps=steps,
            seed=seed,
            id=id,
            seconds=seconds,
        )

    async def batch_predict(
        self,
        version: Reference,
        view: Reference,
        *,
        dataset_id: str,
        parts: Sequence[str] = (),
        columns: Sequence[str] | None = None,
    ) -> BatchPredictionHandle:
        """Starts to predict for all rows of a view and returns at once; `.wait()` gives the name of the data set.

        The data set has the columns of the view that `columns` names, all but images unless given, none if it is empty;
        then for each target `{target}_predicted` and `{target}_probability_{class}`. `version` is `iris`, `iris@prod`
        or `iris/versions/3`; `parts` are of `train`, `validation` and `test`, all unless given.

        Raises:
            FlareError: There is no such version or view, they do not fit, or there is a data set of this id.
        """
        return await self.batch_predictions.create(version, view, dataset_id=dataset_id, parts=parts, columns=columns)

    async def compare(
        self,
        *versions: Reference,
        view: Reference | None = None,
        confidence: float = 0.0,
        resamples: int = 0,
        seed: int = 0,
        seconds: float = COMPARE_SECONDS,
    ) -> evaluation_pb2.ModelComparison:
        """Measures two versions or more on the test rows of a view, each against the first.

        Versions are `iris`, `iris@prod` or `iris/versions/3`; the view is that of the first unless given. Intervals
        hold with a `confidence` of 0.95 and come from 2000 `resamples` unless given. The work takes `seconds` at most.
        `comparison_frame` makes a frame of the answer.

        Raises:
            FlareError: A version does not fit the view, the view has no test rows, or a version is named twice.
        """
        return await self._evaluation.compare(
            versions, view=view, confidence=confidence, resamples=resamples, seed=seed, seconds=seconds
        )
