"""The model store of one process among several."""

from functools import partial

from ml_server.registry.sql import SqlModelStore
from servicekit.database import Database
from servicekit.processes.news import News

KIND = "models"


def shared_store(database: Database, news: News) -> SqlModelStore:
    """A store that tells the others of its writes, and counts theirs."""
    store = SqlModelStore(database, partial(news.tell, KIND))
    news.hear(KIND, lambda _: store.written_elsewhere())
    return store
