"""The model store on SQL. Each method is one transaction."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from ml_server.networks.specification import ModelSpecification
from ml_server.registry.aliases import Alias, Share
from ml_server.registry.store import (
    ModelCursor,
    model_changed,
    model_taken,
    no_such_model,
    no_such_version,
    no_version_yet,
    version_aliased,
)
from ml_server.registry.values import Model, ModelVersion, VersionDetails, VersionReference
from ml_server.tables import aliases, models, requests, versions
from servicekit.database import Database
from servicekit.idempotency import RequestKey, remember, remembered
from servicekit.jobs.sql import utc_now


class SqlModelStore:
    """Keeps the rules that ModelStore states."""

    def __init__(self, database: Database, tell_others: Callable[[], None] | None = None) -> None:
        """`tell_others` has other processes of the service call `written_elsewhere`."""
        self._database = database
        self._tell_others = tell_others
        self._write_count = 0

    @property
    def write_count(self) -> int:
        """As ModelStore says."""
        return self._write_count

    def written_elsewhere(self) -> None:
        """Counts a write of another process."""
        self._write_count += 1

    async def create(
        self,
        owner: str,
        model_id: str,
        display_name: str,
        specification: ModelSpecification,
        request: RequestKey | None,
    ) -> Model:
        """As ModelStore says."""
        now = utc_now()
        row = {
            "uid": uuid.uuid4().hex,
            "owner": owner,
            "id": model_id,
            "display_name": display_name,
            "specification": specification.model_dump(mode="json"),
            "has_initial_weights": False,
            "latest_version": 0,
            "last_number": 0,
            "revision": 1,
            "create_time": now,
            "update_time": now,
        }
        try:
            async with self._write() as connection:
                known = await remembered(connection, requests, request)
                if known is None:
                    await connection.execute(insert(models).values(row))
                    await remember(connection, requests, request, model_id)
                return await _model(connection, owner, known or model_id)
        except IntegrityError as error:
            raise model_taken(model_id) from error

    async def get(self, owner: str, model_id: str) -> Model:
        """As ModelStore says."""
        async with self._database.read() as connection:
            return await _model(connection, owner, model_id)

    async def page(self, owner: str, before: ModelCursor | None, limit: int) -> list[Model]:
        """As ModelStore says."""
        query = select(models).where(models.c.owner == owner)
        if before is not None:
            time, uid = before
            query = query.where(
                or_(models.c.create_time < time, and_(models.c.create_time == time, models.c.uid < uid))
            )
        query = query.order_by(models.c.create_time.desc(), models.c.uid.desc()).limit(limit)
        async with self._database.read() as connection:
            return [await _with_aliases(connection, row) for row in await connection.execute(query)]

    async def delete(self, model: Model) -> None:
        """As ModelStore says."""
        async with self._write() as connection:
            await connection.execute(delete(models).where(models.c.uid == model.uid))

    async def mark_initial_weights(self, model: Model) -> Model:
        """As ModelStore says."""
        async with self._write() as connection:
            await _touch(connection, model, has_initial_weights=True)
            return await _model(connection, model.owner, model.id)

    async def set_alias(self, model: Model, name: str, alias: Alias, etag: str) -> Model:
        """As ModelStore says."""
        async with self._write() as connection:
            current = await _model(connection, model.owner, model.id)
            if etag and etag != current.etag:
                raise model_changed(current)
            for number in alias.versions:
                if await _version_row(connection, current, number) is None:
                    raise no_such_version(f"{current.name}/versions/{number}")
            await _drop_alias(connection, current, name)
            await connection.execute(
                insert(aliases).values(
                    model_uid=current.uid,
                    alias=name,
                    version=alias.version,
                    shares=[[share.version, share.weight] for share in alias.shares],
                    shadow_version=alias.shadow,
                )
            )
            await _touch(connection, current)
            return await _model(connection, model.owner, model.id)

    async def delete_alias(self, model: Model, name: str) -> Model:
        """As ModelStore says."""
        async with self._write() as connection:
            if not await _drop_alias(connection, model, name):
                raise no_such_version(f"{model.name}@{name}")
            await _touch(connection, model)
            return await _model(connection, model.owner, model.id)

    async def add_version(self, model: Model, details: VersionDetails, size_bytes: int, artifact: str) -> ModelVersion:
        """As ModelStore says."""
        counted = (
            update(models)
            .where(models.c.uid == model.uid)
            .values(last_number=models.c.last_number + 1)
            .returning(models.c.last_number)
        )
        async with self._write() as connection:
            row = await _row_of_job(connection, model, details.training_job)
            if row is None:
                number = (await connection.execute(counted)).scalar_one_or_none()
                if number is None:
                    raise no_such_model(model.id)
                await connection.execute(
                    insert(versions).values(
                        model_uid=model.uid,
                        number=number,
                        details=details.model_dump(mode="json"),
                        training_job=details.training_job or None,
                        size_bytes=size_bytes,
                        create_time=utc_now(),
                        artifact=artifact,
                    )
                )
                await _refresh_latest(connection, model)
                row = await _version_row(connection, model, number)
            return _version(await _model(connection, model.owner, model.id), row)

    async def version_of_job(self, model: Model, training_job: str) -> ModelVersion | None:
        """As ModelStore says."""
        async with self._database.read() as connection:
            row = await _row_of_job(connection, model, training_job)
            return _version(model, row) if row is not None else None

    async def version(self, owner: str, reference: VersionReference) -> ModelVersion:
        """As ModelStore says."""
        async with self._database.read() as connection:
            model = await _model(connection, owner, reference.model)
            if reference.alias is not None:
                alias = model.aliases.get(reference.alias)
                number = alias.version if alias else 0
                name = f"{model.name}@{reference.alias}"
            else:
                number = reference.number or model.latest_version
                name = f"{model.name}/versions/{number}"
                if not number:
                    raise no_version_yet(model)
            row = await _version_row(connection, model, number)
            if row is None:
                raise no_such_version(name)
            return _version(model, row)

    async def versions(self, model: Model, before: int | None, limit: int) -> list[ModelVersion]:
        """As ModelStore says."""
        query = select(versions).where(versions.c.model_uid == model.uid)
        if before is not None:
            query = query.where(versions.c.number < before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(versions.c.number.desc()).limit(limit))
            return [_version(model, row) for row in rows]

    async def delete_version(self, version: ModelVersion) -> None:
        """As ModelStore says."""
        async with self._write() as connection:
            model = await _model(connection, version.model.owner, version.model.id)
            named = [name for name, alias in model.aliases.items() if version.number in alias.versions]
            if named:
                raise version_aliased(version, named)
            await connection.execute(
                delete(versions).where(versions.c.model_uid == model.uid, versions.c.number == version.number)
            )
            await _refresh_latest(connection, model)

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.write() as connection:
                yield connection
        finally:
            # Counted when it is over, and however it ended: a commit goes through although its caller is cancelled.
            self._write_count += 1
            if self._tell_others is not None:
                self._tell_others()


async def _model(connection: AsyncConnection, owner: str, model_id: str) -> Model:
    query = select(models).where(models.c.owner == owner, models.c.id == model_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise no_such_model(model_id)
    return await _with_aliases(connection, row)


async def _with_aliases(connection: AsyncConnection, row: Row[Any]) -> Model:
    named: Iterable[Row[Any]] = await connection.execute(
        select(aliases).where(aliases.c.model_uid == row.uid).order_by(aliases.c.alias)
    )
    return Model(
        uid=row.uid,
        owner=row.owner,
        id=row.id,
        display_name=row.display_name,
        specification=ModelSpecification.model_validate(row.specification),
        create_time=row.create_time,
        update_time=row.update_time,
        revision=row.revision,
        latest_version=row.latest_version,
        has_initial_weights=row.has_initial_weights,
        aliases={each.alias: _alias(each) for each in named},
    )


async def _touch(connection: AsyncConnection, model: Model, **values: Any) -> None:
    """Changes a model's row, and its etag with it."""
    await connection.execute(
        update(models)
        .where(models.c.uid == model.uid)
        .values(revision=models.c.revision + 1, update_time=utc_now(), **values)
    )


async def _drop_alias(connection: AsyncConnection, model: Model, name: str) -> bool:
    dropped = await connection.execute(
        delete(aliases).where(aliases.c.model_uid == model.uid, aliases.c.alias == name).returning(aliases.c.alias)
    )
    return dropped.one_or_none() is not None


async def _refresh_latest(connection: AsyncConnection, model: Model) -> None:
    newest = select(func.coalesce(func.max(versions.c.number), 0)).where(versions.c.model_uid == model.uid)
    await _touch(connection, model, latest_version=newest.scalar_subquery())


async def _row_of_job(connection: AsyncConnection, model: Model, training_job: str) -> Row[Any] | None:
    query = select(versions).where(versions.c.model_uid == model.uid, versions.c.training_job == training_job)
    return (await connection.execute(query)).one_or_none()


async def _version_row(connection: AsyncConnection, model: Model, number: int) -> Row[Any] | None:
    query = select(versions).where(versions.c.model_uid == model.uid, versions.c.number == number)
    return (await connection.execute(query)).one_or_none()


def _alias(row: Row[Any]) -> Alias:
    return Alias(row.version, tuple(Share(*share) for share in row.shares), row.shadow_version)


def _version(model: Model, row: Row[Any] | None) -> ModelVersion:
    assert row is not None
    details = VersionDetails.model_validate(row.details)
    return ModelVersion(model, row.number, details, row.size_bytes, row.create_time, row.artifact)
