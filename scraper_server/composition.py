"""Puts the service together."""

import os
from datetime import timedelta
from functools import partial
from pathlib import Path

from flare.scraper.v1 import scraper_service_pb2, scraper_service_pb2_grpc
from prometheus_client import REGISTRY, CollectorRegistry

from scraper_server.credentials.accounts import PersonalAccounts
from scraper_server.credentials.own_credentials import OwnCredentials
from scraper_server.credentials.sealing import MAKE_A_KEY, Sealer, new_key, read_keys
from scraper_server.credentials.sql import SqlCredentialsStore
from scraper_server.credentials.vault import CredentialsVault
from scraper_server.datasets.catalog import Datasets
from scraper_server.datasets.names import DatasetNames
from scraper_server.datasets.quota import Quota
from scraper_server.datasets.sql import SqlDatasetStore
from scraper_server.datasets.view_catalog import Views
from scraper_server.imports.downloads import Downloads
from scraper_server.imports.imports import Imports
from scraper_server.imports.work import ImportWork
from scraper_server.processes import Processes
from scraper_server.rpc.codecs import CODECS
from scraper_server.rpc.scraper_servicer import ScraperServicer
from scraper_server.settings import Settings
from scraper_server.sources.catalog import Sources
from scraper_server.sources.kaggle.credentials import Credentials, chosen_credentials, found_credentials
from scraper_server.sources.kaggle.kaggle_source import KaggleSource
from scraper_server.sources.samples import SamplesSource
from scraper_server.sources.source import SourceKind
from scraper_server.sql_tables import jobs as job_tables
from scraper_server.uploads.folder import UploadFolder
from scraper_server.uploads.housekeeping import UploadHousekeeping
from scraper_server.uploads.one_call import Uploads
from scraper_server.uploads.sessions import UploadSessions
from scraper_server.uploads.sql import SqlUploadSessionStore
from servicekit.artifacts import open_artifacts
from servicekit.database import Database
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.runner import JobRunner
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.wakeups import Wakeups
from servicekit.readiness import Readiness
from servicekit.rpc.authorization import Verifier
from servicekit.secret_files import kept_secret
from servicekit.server import Component, Registration, RpcServer
from servicekit.tokens import TokenVerifier


class ScraperService:
    """The whole service: `prepare`, then run `rpc`, then `close`."""

    def __init__(
        self, settings: Settings, verifier: Verifier | None = None, registry: CollectorRegistry = REGISTRY
    ) -> None:
        """Opens nothing yet. Without a `verifier`, tokens are verified as the settings say."""
        work_directory = settings.data_directory / "scraper-work"
        components: list[Component] = []
        if verifier is None:
            verifier = TokenVerifier(settings.token_issuer, settings.token_audience, settings.jwks_url)
            components.append(verifier)
        self._settings = settings
        self._database = Database(settings.database("scraper"))
        artifacts = open_artifacts(settings.artifacts("scraper"))
        wakeups = Wakeups()
        jobs = SqlJobStore(self._database, job_tables, "importJobs", wakeups)
        store = SqlDatasetStore(self._database, artifacts)
        names = DatasetNames(store, jobs)
        processes = Processes(settings.processes)
        limits = settings.limits()
        vault = CredentialsVault(SqlCredentialsStore(self._database), _sealer(settings))
        accounts = PersonalAccounts(vault, _kaggle_credentials(settings))
        kaggle = KaggleSource(settings.kaggle_options(), accounts)
        sources = Sources({SourceKind.SAMPLES: SamplesSource(), SourceKind.KAGGLE: kaggle})
        datasets = Datasets(store, artifacts)
        session_store = SqlUploadSessionStore(self._database)
        quota = Quota(limits.quota_bytes, [store.used_bytes, session_store.announced_bytes])
        uploads = Uploads(datasets, store, names, processes, work_directory / "uploads", limits, quota)
        upload_folder = UploadFolder(work_directory / "upload-sessions")
        upload_sessions = UploadSessions(
            session_store,
            jobs,
            quota,
            upload_folder,
            limits.max_file_bytes,
            timedelta(hours=settings.upload_session_hours),
        )
        housekeeping = UploadHousekeeping(upload_sessions, upload_folder)
        views = Views(datasets, store, artifacts, processes, work_directory / "views", quota)
        downloads = Downloads(work_directory / "downloads", settings.download_cache_bytes)
        work = ImportWork(
            sources,
            datasets,
            jobs,
            processes,
            work_directory / "imports",
            limits,
            quota,
            downloads,
            upload_sessions,
        )
        runner = JobRunner(
            jobs,
            wakeups,
            work,
            name=settings.runner_name,
            concurrency=settings.concurrent_imports,
            lease_seconds=settings.job_lease_seconds,
        )
        imports = Imports(jobs, JobFollower(jobs, wakeups), names, store, sources, upload_sessions)
        servicer = ScraperServicer(
            sources, OwnCredentials(vault, kaggle), imports, datasets, uploads, upload_sessions, views
        )
        self.rpc = RpcServer(
            settings,
            [
                Registration(
                    scraper_service_pb2.DESCRIPTOR.services_by_name["ScraperService"],
                    partial(scraper_service_pb2_grpc.add_ScraperServiceServicer_to_server, servicer),
                    CODECS,
                )
            ],
            verifier,
            components=[
                *components,
                vault,
                processes,
                uploads,
                housekeeping,
                views,
                kaggle,
                work,
                _Watches(wakeups),
                runner,
            ],
            registry=registry,
            readiness=Readiness(self._database),
        )

    async def prepare(self) -> None:
        """Brings the database up to date."""
        self._settings.data_directory.mkdir(parents=True, exist_ok=True)
        await self._database.migrate("scraper_server:migrations")

    async def close(self) -> None:
        """Closes the database; called after the server has drained."""
        await self._database.close()


class _Watches:
    """Ends the watches when the server drains, after the jobs were put back and their watchers told."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups

    async def start(self) -> None:
        """Nothing to do."""

    async def drain(self) -> None:
        """Tells every watch that the server drains."""
        self._wakeups.close()


def _sealer(settings: Settings) -> Sealer | None:
    """What encrypts people's credentials; None if there is no key. Raises ValueError, OSError."""
    keys = _keys("FLARE_SCRAPER_CREDENTIALS_KEYS", settings.credentials_keys.get_secret_value())
    if file := settings.credentials_keys_file:
        found = _keys("FLARE_SCRAPER_CREDENTIALS_KEYS_FILE", kept_secret(file, new_key))
        if not found:
            raise ValueError(f"FLARE_SCRAPER_CREDENTIALS_KEYS_FILE: '{file}' is empty; `{MAKE_A_KEY}` makes a key")
        keys += found
    return Sealer(keys) if keys else None


def _keys(setting: str, text: str) -> tuple[bytes, ...]:
    try:
        return read_keys(text)
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from error


def _kaggle_credentials(settings: Settings) -> Credentials:
    chosen = chosen_credentials(
        settings.kaggle_username, settings.kaggle_key.get_secret_value(), settings.kaggle_token.get_secret_value()
    )
    if chosen is None and not settings.kaggle_endpoint:
        return found_credentials(os.environ, Path.home())
    return chosen
