"""The store of data sets on SQL. Each method is one transaction."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, String, and_, delete, func, insert, select, type_coerce
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scraper_server.datasets.references import refer, release
from scraper_server.datasets.store import (
    dataset_name_taken,
    has_views,
    no_such_dataset,
    no_such_view,
    view_name_taken,
)
from scraper_server.datasets.values import Dataset, DatasetView, Origin, table_key, view_key
from scraper_server.sql_tables import dataset_views as views
from scraper_server.sql_tables import datasets, requests
from scraper_server.tables.conversion import ConvertedTable
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.schema import Column, ColumnStatistics, TableWarning
from scraper_server.views.spec import ResolvedView, ViewSpec
from servicekit.artifacts import ArtifactStore
from servicekit.database import Database
from servicekit.idempotency import RequestKey, remember, remembered

_ORIGIN: TypeAdapter[Origin] = TypeAdapter(Origin)
_COLUMNS = TypeAdapter(tuple[Column, ...])
_STATISTICS: TypeAdapter[ColumnStatistics | None] = TypeAdapter(ColumnStatistics | None)
_FORMAT = TypeAdapter(FileFormat)
_WARNINGS = TypeAdapter(tuple[TableWarning, ...])
_SPEC = TypeAdapter(ViewSpec)
_RESOLVED = TypeAdapter(ResolvedView)
_WITH_ORIGIN = select(views, datasets.c.origin).join(
    datasets, and_(datasets.c.owner == views.c.owner, datasets.c.id == views.c.dataset_id)
)
_LISTED = [column for column in datasets.c if column.name != "statistics"]


class SqlDatasetStore:
    """Keeps the rules that DatasetStore states."""

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts

    async def remembered(self, request: RequestKey | None) -> str | None:
        """As DatasetStore says."""
        async with self._database.read() as connection:
            return await remembered(connection, requests, request)

    async def add(self, dataset: Dataset, request: RequestKey | None = None) -> None:
        """As DatasetStore says."""
        async with self._database.write() as connection:
            try:
                await connection.execute(insert(datasets).values(_dataset_row(dataset)))
            except IntegrityError as error:
                raise dataset_name_taken(dataset.id) from error
            await refer(connection, self._artifacts, table_key(dataset.table.digest))
            try:
                await remember(connection, requests, request, dataset.id)
            except IntegrityError as error:  # the same request made it, a moment ago
                raise dataset_name_taken(dataset.id) from error

    async def get(self, owner: str, dataset_id: str) -> Dataset:
        """As DatasetStore says."""
        # The statistics of thousands of columns are megabytes: they are decoded by a thread, and not by the driver.
        encoded = type_coerce(datasets.c.statistics, String).label("statistics")
        row = await self._row(owner, dataset_id, *_LISTED, encoded)
        return await asyncio.to_thread(_described, _dataset(row), row.statistics)

    async def find(self, owner: str, dataset_id: str) -> Dataset:
        """As DatasetStore says."""
        return _dataset(await self._row(owner, dataset_id, *_LISTED))

    async def _row(self, owner: str, dataset_id: str, *columns: ColumnElement[Any]) -> Row[Any]:
        async with self._database.read() as connection:
            found = await connection.execute(select(*columns).where(_named(owner, dataset_id)))
        row = found.one_or_none()
        if row is None:
            raise no_such_dataset(dataset_id)
        return row

    async def exists(self, owner: str, dataset_id: str) -> bool:
        """As DatasetStore says."""
        async with self._database.read() as connection:
            return await _has_dataset(connection, owner, dataset_id)

    async def page(self, owner: str, before: int | None, limit: int) -> list[tuple[int, Dataset]]:
        """As DatasetStore says."""
        query = select(*_LISTED).where(datasets.c.owner == owner)
        if before is not None:
            query = query.where(datasets.c.number < before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(datasets.c.number.desc()).limit(limit))
            return [(row.number, _dataset(row)) for row in rows]

    async def delete(self, owner: str, dataset_id: str, *, force: bool) -> None:
        """As DatasetStore says."""
        async with self._database.write() as connection:
            found = await connection.execute(
                select(datasets.c.digest).where(_named(owner, dataset_id)).with_for_update()
            )
            row = found.one_or_none()
            if row is None:
                raise no_such_dataset(dataset_id)
            of_dataset = and_(views.c.owner == owner, views.c.dataset_id == dataset_id)
            found = await connection.execute(select(views.c.id, views.c.digest).where(of_dataset))
            of_views = found.all()
            if of_views and not force:
                raise has_views(dataset_id, [view.id for view in of_views])
            await connection.execute(delete(views).where(of_dataset))
            await connection.execute(delete(datasets).where(_named(owner, dataset_id)))
            for view in of_views:
                await release(connection, self._artifacts, view_key(view.digest))
            await release(connection, self._artifacts, table_key(row.digest))

    async def add_view(self, view: DatasetView, request: RequestKey | None = None) -> None:
        """As DatasetStore says."""
        async with self._database.write() as connection:
            if not await _has_dataset(connection, view.owner, view.dataset_id, view.dataset_digest):
                raise no_such_dataset(view.dataset_id)
            try:
                await connection.execute(insert(views).values(_view_row(view)))
            except IntegrityError as error:
                raise view_name_taken(view.dataset_id, view.id) from error
            await refer(connection, self._artifacts, view_key(view.resolved.digest))
            try:
                await remember(connection, requests, request, f"{view.dataset_id}/{view.id}")
            except IntegrityError as error:  # the same request made it, a moment ago
                raise view_name_taken(view.dataset_id, view.id) from error

    async def get_view(self, owner: str, dataset_id: str, view_id: str) -> DatasetView:
        """As DatasetStore says."""
        async with self._database.read() as connection:
            found = await connection.execute(_WITH_ORIGIN.where(_view_named(owner, dataset_id, view_id)))
        row = found.one_or_none()
        if row is None:
            raise no_such_view(dataset_id, view_id)
        return _view(row)

    async def view_exists(self, owner: str, dataset_id: str, view_id: str) -> bool:
        """As DatasetStore says."""
        async with self._database.read() as connection:
            found = await connection.execute(select(views.c.number).where(_view_named(owner, dataset_id, view_id)))
            return found.one_or_none() is not None

    async def views_page(
        self, owner: str, dataset_id: str | None, before: int | None, limit: int
    ) -> list[tuple[int, DatasetView]]:
        """As DatasetStore says."""
        query = _WITH_ORIGIN.where(views.c.owner == owner)
        if dataset_id is not None:
            query = query.where(views.c.dataset_id == dataset_id)
        if before is not None:
            query = query.where(views.c.number < before)
        async with self._database.read() as connection:
            if dataset_id is not None and not await _has_dataset(connection, owner, dataset_id):
                raise no_such_dataset(dataset_id)
            rows = await connection.execute(query.order_by(views.c.number.desc()).limit(limit))
            return [(row.number, _view(row)) for row in rows]

    async def used_bytes(self, owner: str) -> int:
        """As DatasetStore says."""
        async with self._database.read() as connection:
            total = 0
            for kept in (datasets, views):
                artifacts = select(kept.c.digest, kept.c.size_bytes).where(kept.c.owner == owner).distinct().subquery()
                total += await connection.scalar(select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))) or 0
            return int(total)

    async def delete_view(self, owner: str, dataset_id: str, view_id: str) -> None:
        """As DatasetStore says."""
        async with self._database.write() as connection:
            deleted = delete(views).where(_view_named(owner, dataset_id, view_id)).returning(views.c.digest)
            digest = (await connection.execute(deleted)).scalar_one_or_none()
            if digest is None:
                raise no_such_view(dataset_id, view_id)
            await release(connection, self._artifacts, view_key(digest))


def _named(owner: str, dataset_id: str) -> ColumnElement[bool]:
    return and_(datasets.c.owner == owner, datasets.c.id == dataset_id)


def _view_named(owner: str, dataset_id: str, view_id: str) -> ColumnElement[bool]:
    return and_(views.c.owner == owner, views.c.dataset_id == dataset_id, views.c.id == view_id)


async def _has_dataset(connection: AsyncConnection, owner: str, dataset_id: str, digest: str | None = None) -> bool:
    """True if it is there, with that digest if one is given: a name can be used again for other content."""
    found = (await connection.execute(select(datasets.c.digest).where(_named(owner, dataset_id)))).scalar_one_or_none()
    return found is not None and digest in (None, found)


def _dataset_row(dataset: Dataset) -> dict[str, Any]:
    table = dataset.table
    plain = tuple(column.without_statistics() for column in table.columns)
    return {
        "owner": dataset.owner,
        "id": dataset.id,
        "display_name": dataset.display_name,
        "origin": _ORIGIN.dump_python(dataset.origin, mode="json"),
        "digest": table.digest,
        "row_count": table.row_count,
        "size_bytes": table.size_bytes,
        "columns": _COLUMNS.dump_python(plain, mode="json"),
        "statistics": [_STATISTICS.dump_python(column.statistics, mode="json") for column in table.columns],
        "format": _FORMAT.dump_python(table.format, mode="json"),
        "warnings": _WARNINGS.dump_python(table.warnings, mode="json"),
        "import_job": dataset.import_job,
        "create_time": dataset.create_time,
    }


def _dataset(row: Row[Any]) -> Dataset:
    """The data set of a row, its columns without statistics."""
    return Dataset(
        owner=row.owner,
        id=row.id,
        display_name=row.display_name,
        origin=_ORIGIN.validate_python(row.origin),
        table=ConvertedTable(
            digest=row.digest,
            row_count=row.row_count,
            size_bytes=row.size_bytes,
            columns=_COLUMNS.validate_python(row.columns),
            format=_FORMAT.validate_python(row.format),
            warnings=_WARNINGS.validate_python(row.warnings),
        ),
        create_time=row.create_time,
        import_job=row.import_job,
    )


def _described(dataset: Dataset, encoded: str) -> Dataset:
    """The data set with the statistics that belong to its columns."""
    known = (_STATISTICS.validate_python(each) for each in json.loads(encoded))  # one by one: others want to run too
    columns = tuple(replace(column, statistics=each) for column, each in zip(dataset.columns, known, strict=True))
    return replace(dataset, table=replace(dataset.table, columns=columns))


def _view_row(view: DatasetView) -> dict[str, Any]:
    return {
        "owner": view.owner,
        "dataset_id": view.dataset_id,
        "id": view.id,
        "display_name": view.display_name,
        "spec": _SPEC.dump_python(view.spec, mode="json"),
        "resolved": _RESOLVED.dump_python(view.resolved, mode="json"),
        "digest": view.resolved.digest,
        "dataset_digest": view.dataset_digest,
        "create_time": view.create_time,
        "size_bytes": view.size_bytes,
    }


def _view(row: Row[Any]) -> DatasetView:
    return DatasetView(
        owner=row.owner,
        dataset_id=row.dataset_id,
        id=row.id,
        display_name=row.display_name,
        spec=_SPEC.validate_python(row.spec),
        resolved=_RESOLVED.validate_python(row.resolved),
        dataset_digest=row.dataset_digest,
        origin=_ORIGIN.validate_python(row.origin),
        create_time=row.create_time,
        size_bytes=row.size_bytes,
    )
