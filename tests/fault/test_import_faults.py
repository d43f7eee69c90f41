"""Every fault of Kaggle at every step of an import, once, several times and for ever."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.kaggle_emulator import RequestKind
from tests.kaggle_walk import SIZE, Walk, cases_at_the_api, cases_in_storage, cases_on_resume, walking

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walk(token_issuer: "TokenIssuer", tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walk]:
    async with walking(token_issuer, tmp_path_factory.mktemp("walk")) as made:
        yield made


@pytest.mark.parametrize("kind", [RequestKind.GET_DATASET, RequestKind.LIST_FILES, RequestKind.DOWNLOAD])
async def test_faults_of_the_api(walk: Walk, kind: RequestKind) -> None:
    assert await walk.complaints(cases_at_the_api(kind)) == []


@pytest.mark.parametrize("at", [1, SIZE // 2, SIZE - 1], ids=["first", "middle", "last"])
async def test_faults_of_storage(walk: Walk, at: int) -> None:
    assert await walk.complaints(cases_in_storage(at)) == []


async def test_faults_of_storage_on_resume(walk: Walk) -> None:
    assert await walk.complaints(cases_on_resume()) == []
