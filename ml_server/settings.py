"""The settings of the ML service, from the environment: `FLARE_ML_LISTEN_ADDRESS` and so on."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServerSettings


class Settings(ServerSettings):
    """What the ML service needs to know."""

    model_config = SettingsConfigDict(env_prefix="FLARE_ML_", frozen=True)

    listen_address: str = "127.0.0.1:50051"
    processes: PositiveInt = 1
    """How many processes answer calls on the port; each connection goes to one of them. The first one alone runs jobs,
    and starts the others again when they end. Each has its own versions in memory and its own counts, and serves its
    metrics on the next port. Several need Linux."""
    scraper_address: str = "127.0.0.1:50052"
    """Where the scraper service listens."""
    scraper_ca_file: Path | None = None
    """Authorities that the scraper service's certificate is checked with, PEM; plain text if not set."""
    token_url: str = "http://127.0.0.1:50054/oauth2/token"  # noqa: S105  # an address
    """Where this service gets its own token (OAuth 2.0 client credentials)."""
    service_identity: str = "ml-server"
    """Its client id there."""
    service_secret: SecretStr = SecretStr("")
    """Its client secret there."""
    service_secret_file: Path | None = None
    """A file with that secret, read instead of `service_secret` if set."""
    runner_name: str = "local"
    """The name under which this server claims jobs: the same after a restart, and no other server's."""
    concurrent_jobs: PositiveInt = 2
    """How many training jobs run at a time."""
    concurrent_jobs_per_person: NonNegativeInt = 0
    """How many of them may be one person's; 0 for no limit. Others wait in the queue."""
    concurrent_sweeps: PositiveInt = 32
    """How many sweeps go on at a time. A sweep takes no place of a training job; its trials do."""
    concurrent_batch_predictions: PositiveInt = 2
    """How many batch predictions go on at a time, beside the training jobs."""
    job_lease_seconds: PositiveInt = 60
    """How long the jobs of a server that died wait for another one to take them."""
    worker_threads: PositiveInt | Literal["auto"] = "auto"
    """Processor threads of one training job. `auto` shares the cores out among as many jobs as run at a time, and gives
    one to a job with small batches."""
    warm_workers: NonNegativeInt = 1
    """Worker processes that wait for a job, so that it starts at once."""
    worker_memory_bytes: PositiveInt | Literal["auto"] = "auto"
    """Memory that one training job should get by with. Rows that are more than half of it are streamed from the disk
    and shuffled by blocks. `auto` shares half of the machine's memory out among as many jobs as run at a time."""
    view_cache_bytes: PositiveInt | Literal["auto"] = "auto"
    """Bytes that rows of views may take on this disk; those not used for longest leave first, those that a job trains
    on never. `auto` is half of what is free at the start."""
    executor: Literal["local", "ray"] = "local"
    """Where training jobs run: `local` on this machine, `ray` on a Ray cluster."""
    ray_address: str = "auto"
    """Host and port of the Ray cluster's head; `auto` is the cluster that the Ray node on this machine belongs to."""
    ray_storage: Path | None = None
    """A folder that this machine and all nodes of the Ray cluster have at the same path, for rows and checkpoints."""
    ray_cpus_per_worker: PositiveInt = 1
    """Processors that a training, or each of its workers, takes from the Ray cluster."""
    ray_gpus_per_worker: NonNegativeInt = 0
    """GPUs that it takes, or each of them."""
    max_model_parameters: PositiveInt = 500_000_000
    """Learned numbers of the largest network that may be made."""
    max_upload_bytes: PositiveInt = 4 * 1024**3
    """The largest file of weights, or bundle, that may be sent."""
    max_image_pixels: PositiveInt = 64_000_000
    """The most pixels that an image to predict may have before it is resized."""
    loaded_versions_bytes: PositiveInt = 1024**3
    """Bytes of versions that a process keeps in memory for predictions."""
    prediction_threads: PositiveInt | Literal["auto"] = "auto"
    """Threads of a process that compute predictions of networks that take long; `auto` shares the cores out among the
    processes. One network leaves others at least one of them."""
    waiting_predictions_bytes: PositiveInt = 64 << 20
    """Bytes of features that may wait for one version before more are refused."""

    @model_validator(mode="after")
    def _check_executor(self) -> "Settings":
        if self.executor == "ray" and self.ray_storage is None:
            raise ValueError(
                "executor 'ray' needs ray_storage: a folder that this machine and all nodes of the cluster have at the "
                "same path"
            )
        return self

    tensorboard_directory: Path | None = None
    """Where each training leaves event files for TensorBoard, in a folder `{model}/{job}`; nowhere if not set."""
    mlflow_tracking_uri: str = ""
    """The MLflow server, or database, in which each training is a run, such as `http://127.0.0.1:5000`; none if empty.
    """
    mlflow_experiment: str = "flare"
    """The MLflow experiment of these runs; made if it is not there."""

    def secret(self) -> str:
        """The service's own secret, from its file if there is one."""
        if self.service_secret_file is not None:
            return self.service_secret_file.read_text(encoding="utf-8").strip()
        return self.service_secret.get_secret_value()
