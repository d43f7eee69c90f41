"""The messages of data sets that were asked for lately."""

import asyncio
from collections import OrderedDict
from datetime import datetime

from flare.scraper.v1 import dataset_pb2

from scraper_server.datasets.catalog import Datasets
from scraper_server.rpc.dataset_messages import dataset_message

CACHE_BYTES = 32 << 20

_Key = tuple[str, str, datetime]


class DatasetCache:
    """Data sets never change, so a message that was made once is made for good.

    Statistics of thousands of columns take a second to read and to put into a message.
    """

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._messages: OrderedDict[_Key, tuple[dataset_pb2.Dataset, int]] = OrderedDict()
        self._bytes = 0

    async def message(self, owner: str, dataset_id: str) -> dataset_pb2.Dataset:
        """An owner's data set with its statistics, not to be changed by the caller. Raises NotFound."""
        known = await self._datasets.find(owner, dataset_id)
        key = (owner, dataset_id, known.create_time)  # another one may have had its name
        if key in self._messages:
            self._messages.move_to_end(key)
            return self._messages[key][0]
        dataset = await self._datasets.get(owner, dataset_id)
        message = await asyncio.to_thread(dataset_message, dataset)
        self._keep((owner, dataset_id, dataset.create_time), message)
        return message

    def _keep(self, key: _Key, message: dataset_pb2.Dataset) -> None:
        size = message.ByteSize()
        if key in self._messages or size > CACHE_BYTES:
            return
        self._messages[key] = message, size
        self._bytes += size
        while self._bytes > CACHE_BYTES:
            _, (_, least) = self._messages.popitem(last=False)
            self._bytes -= least
