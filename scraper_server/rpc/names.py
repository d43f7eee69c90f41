"""The ids in resource names. The contract's rules have checked their form."""


def dataset_id(name: str) -> str:
    """The id in `datasets/{dataset}`."""
    return name.split("/")[1]


def listed_dataset_id(parent: str) -> str | None:
    """The id in `datasets/{dataset}`, None in `datasets/-`, which means all."""
    found = dataset_id(parent)
    return None if found == "-" else found


def view_ids(name: str) -> tuple[str, str]:
    """The two ids in `datasets/{dataset}/views/{view}`."""
    _, dataset, _, view = name.split("/")
    return dataset, view


def job_id(name: str) -> str:
    """The id in `importJobs/{import_job}`."""
    return name.split("/")[1]


def upload_session_id(name: str) -> str:
    """The id in `uploadSessions/{upload_session}`."""
    return name.split("/")[1]
