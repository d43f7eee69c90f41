"""Which ids of data sets are free: neither in use nor reserved by an import under way."""

from scraper_server.datasets.ids import stem_of, with_suffix
from scraper_server.datasets.store import DatasetStore, dataset_name_taken
from servicekit.jobs.store import JobStore

JOB_DATASET = "dataset_id"
"""Where the spec of an import job holds the id of the data set that it makes."""


class DatasetNames:
    """Chooses ids. Two calls at once may choose the same; then the one that ends second gets NAME_TAKEN."""

    def __init__(self, store: DatasetStore, jobs: JobStore) -> None:
        self._store = store
        self._jobs = jobs

    async def chosen(self, owner: str, wanted: str, name: str) -> str:
        """The id wanted, or one made from `name` if none is.

        Raises:
            AlreadyExists: NAME_TAKEN, if the id wanted is in use.
        """
        reserved = {str(job.spec[JOB_DATASET]) for job in await self._jobs.unfinished(owner)}
        if wanted:
            if wanted in reserved:
                raise dataset_name_taken(wanted, "an import under way makes")
            if await self._store.exists(owner, wanted):
                raise dataset_name_taken(wanted)
            return wanted
        stem = chosen = stem_of(name, "dataset")
        while chosen in reserved or await self._store.exists(owner, chosen):
            chosen = with_suffix(stem)
        return chosen
