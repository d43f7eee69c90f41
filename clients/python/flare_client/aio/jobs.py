"""`flare.jobs`: imports and trainings, to be found again."""

from __future__ import annotations

from flare.ml.v1 import training_service_pb2, training_service_pb2_grpc
from flare.scraper.v1 import scraper_service_pb2, scraper_service_pb2_grpc

from flare_client.aio.import_jobs import ImportJobHandle
from flare_client.aio.service import Service
from flare_client.aio.training_jobs import TrainingJobHandle
from flare_client.names import Reference, import_job_name, training_job_name

PAGE_SIZE = 200


class Jobs:
    """The jobs of the caller."""

    def __init__(self, scraper: Service, ml: Service) -> None:
        self._scraper = scraper
        self._ml = ml
        self._imports = scraper_service_pb2_grpc.ScraperServiceStub(scraper.channel)
        self._trainings = training_service_pb2_grpc.TrainingServiceStub(ml.channel)

    async def get_import(self, job: Reference) -> ImportJobHandle:
        """An import, to be followed."""
        request = scraper_service_pb2.GetImportJobRequest(name=import_job_name(job))
        return ImportJobHandle(self._scraper, await self._scraper.call(self._imports.GetImportJob, request, safe=True))

    async def get_training(self, job: Reference) -> TrainingJobHandle:
        """A training, to be followed."""
        request = training_service_pb2.GetTrainingJobRequest(name=training_job_name(job))
        return TrainingJobHandle(self._ml, await self._ml.call(self._trainings.GetTrainingJob, request, safe=True))

    async def imports(self, limit: int = 100) -> list[ImportJobHandle]:
        """The newest imports, newest first."""
        jobs: list[ImportJobHandle] = []
        page_token = ""
        while len(jobs) < limit:
            request = scraper_service_pb2.ListImportJobsRequest(
                page_size=min(PAGE_SIZE, limit - len(jobs)), page_token=page_token
            )
            page = await self._scraper.call(self._imports.ListImportJobs, request, safe=True)
            jobs += [ImportJobHandle(self._scraper, job) for job in page.import_jobs]
            page_token = page.next_page_token
            if not page_token:
                break
        return jobs[:limit]

    async def trainings(self, limit: int = 100) -> list[TrainingJobHandle]:
        """The newest trainings, newest first."""
        jobs: list[TrainingJobHandle] = []
        page_token = ""
        while len(jobs) < limit:
            request = training_service_pb2.ListTrainingJobsRequest(
                page_size=min(PAGE_SIZE, limit - len(jobs)), page_token=page_token
            )
            page = await self._ml.call(self._trainings.ListTrainingJobs, request, safe=True)
            jobs += [TrainingJobHandle(self._ml, job) for job in page.training_jobs]
            page_token = page.next_page_token
            if not page_token:
                break
        return jobs[:limit]
