"""Versions side by side on the running services: aliases that several share, shadows, and drift."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import flare_client
import grpc
import numpy as np
import pytest
from flare.ml.v1 import monitoring_pb2
from flare.open_inference import grpc_service_pb2, grpc_service_pb2_grpc
from flare_client import Flare, FlareError
from flare_client.cli.app import run as run_command

from tests.made_versions import bundle_file, numbers_version
from tests.services import FlareServices

ROW = {"x0": [0.5], "x1": [-0.5]}
ROWS = {"x0": [0.5, -1.0, 2.0, 0.1, -0.3], "x1": [-0.5, 0.2, 1.0, -2.0, 0.7]}
IDS = [f"customer-{number}" for number in range(40)]


@dataclass
class World:
    """A connection, and a model of two numbers with three versions that nobody trained."""

    services: FlareServices
    flare: Flare
    model: str

    def command(self, *arguments: str) -> str:
        """What a command of `flare` prints."""
        return self.done(*arguments)[0]

    def done(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What it prints, and what it says beside that."""
        output, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.services.environment().items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                ended = run_command(list(arguments))
        assert ended == status, errors.getvalue()
        return output.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def world(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What the tests of this file share."""
    services = flare_services
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        model = f"shared-{uuid4().hex[:8]}"
        for _ in range(3):
            flare.models.import_(model, bundle_file(numbers_version(2, (4,)), tmp_path_factory.mktemp(model)))
        yield World(services, flare, model)


def answering(flare: Flare, model: str, request_id: str) -> int:
    """The number of the version that answers."""
    version: str = flare.predict(f"{model}@prod", ROW, id=request_id).attrs["version"]
    return int(version.rpartition("/")[2])


def test_an_alias_is_shared_out_by_id_in_both_protocols(world: World) -> None:
    flare, model = world.flare, world.model
    described = json.loads(
        world.command("models", "set-alias", model, "prod", "--share", "1=60", "--share", "2=40", "-o", "json")
    )
    (alias,) = described["aliases"]
    assert (alias["version"], [share["weight"] for share in alias["shares"]]) == (1, [60, 40])
    assert "prod=1 (60%) + 2 (40%)" in world.command("models", "describe", model)

    answered = [answering(flare, model, each) for each in IDS]
    assert set(answered) == {1, 2}
    assert [answering(flare, model, each) for each in IDS[:10]] == answered[:10]
    assert set(Counter(answering(flare, model, "") for _ in range(40))) == {1, 2}

    with grpc.insecure_channel(world.services.ml_address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = grpc_service_pb2.ModelInferRequest(model_name=f"{model}@prod")
        for name in ROW:
            tensor = request.inputs.add(name=name, datatype="FP64", shape=[1])
            tensor.contents.fp64_contents.append(0.5)
        numbers = []
        for each in IDS[:10]:
            request.id = each
            numbers.append(int(stub.ModelInfer(request, metadata=world.services.metadata()).model_version))
    assert numbers == answered[:10]

    # The whole of a stream with an id is one version's, wherever its tables are cut.
    frames = list(flare.predict_stream(f"{model}@prod", [ROW] * 6, id=IDS[0]))
    assert {frame.attrs["version"] for frame in frames} == {f"models/{model}/versions/{answered[0]}"}


def test_a_weight_that_grows_takes_ids_from_the_other_and_gives_none_back(world: World) -> None:
    flare, model = world.flare, world.model
    flare.models.set_alias(model, "prod", shares={1: 60, 2: 40})
    before = [answering(flare, model, each) for each in IDS]
    flare.models.set_alias(model, "prod", shares={1: 20, 2: 80})
    after = [answering(flare, model, each) for each in IDS]
    assert np.count_nonzero(np.array(after) == 2) > np.count_nonzero(np.array(before) == 2)
    assert all(new == 2 for old, new in zip(before, after, strict=True) if old == 2)


def test_shares_that_do_not_fit_are_refused_and_their_versions_stay(world: World) -> None:
    flare, model = world.flare, world.model
    with pytest.raises(FlareError, match="version 3 has no share") as wrong:
        flare.models.set_alias(model, "prod", 3, shares={1: 1, 2: 1})
    assert (wrong.value.code, wrong.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    with pytest.raises(FlareError, match=r"no version .*/versions/9"):
        flare.models.set_alias(model, "prod", shares={1: 1, 9: 1})
    flare.models.set_alias(model, "prod", shares={1: 1, 2: 1}, shadow=3)
    for number in (2, 3):
        with pytest.raises(FlareError, match="alias 'prod'") as used:
            flare.models.delete_version(f"{model}/versions/{number}")
        assert used.value.reason == "RESOURCE_IN_USE"
    world.command("models", "delete-alias", model, "prod")
    assert not flare.models.get(model).aliases


def test_versions_with_other_columns_share_no_alias_and_shadow_none(world: World, tmp_path: Path) -> None:
    flare, model = world.flare, f"apart-{uuid4().hex[:8]}"
    for columns in (2, 3):
        (folder := tmp_path / str(columns)).mkdir()
        flare.models.import_(model, bundle_file(numbers_version(columns, (4,)), folder))
    with pytest.raises(FlareError, match="version 2 can't share an alias with version 1: it also takes 'x2'") as apart:
        flare.models.set_alias(model, "prod", shares={1: 90, 2: 10})
    assert (apart.value.code, apart.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "COLUMN_UNEXPECTED")
    assert [violation.field for violation in apart.value.violations] == ["shares"]
    with pytest.raises(FlareError, match="version 1 can't shadow version 2: it does not take 'x2'") as apart:
        flare.models.set_alias(model, "prod", 2, shadow=1)
    assert [violation.field for violation in apart.value.violations] == ["shadow_version"]
    assert not flare.models.get(model).aliases
    flare.models.set_alias(model, "prod", 1)
    assert flare.models.set_alias(model, "prod", 2).aliases[0].version == 2  # whoever moves an alias tells its callers


def test_a_shadow_stays_while_weights_change_until_it_answers_or_is_sent_away(world: World) -> None:
    def set_alias(*arguments: str) -> tuple[int, int]:
        (alias,) = json.loads(world.command("models", "set-alias", world.model, "prod", *arguments, "-o", "json"))[
            "aliases"
        ]
        return alias["version"], int(alias.get("shadow_version", 0))

    assert set_alias("--share", "1=90", "--share", "2=10", "--shadow", "3") == (1, 3)
    assert set_alias("--share", "1=50", "--share", "2=50") == (1, 3)
    assert set_alias("3") == (3, 0)
    assert set_alias("1", "--shadow", "2") == (1, 2)
    assert set_alias("1", "--no-shadow") == (1, 0)


def test_a_shadow_is_asked_beside_those_that_answer(world: World) -> None:
    flare, model = world.flare, world.model
    alias = f"{model}@prod"
    world.command("models", "set-alias", model, "prod", "1", "--shadow", "2")
    frames = [flare.predict(alias, ROWS) for _ in range(3)]
    assert {frame.attrs["version"] for frame in frames} == {f"models/{model}/versions/1"}
    other = flare.predict(f"{model}/versions/2", ROWS)

    found = flare.monitoring.shadow(alias)
    while found.waiting_request_count:
        found = flare.monitoring.shadow(alias)
    assert (found.name, found.shadow_version) == (f"models/{alias}", f"models/{model}/versions/2")
    assert (found.request_count, found.row_count, found.failure_count) == (3, 15, 0)
    (target,) = found.targets
    assert target.label_agreement == pytest.approx((frames[0]["y"] == other["y"]).mean())
    probabilities = ["y_probability_no", "y_probability_yes"]
    difference = np.abs(frames[0][probabilities].to_numpy() - other[probabilities].to_numpy()).mean()
    assert target.mean_absolute_difference == pytest.approx(difference, rel=1e-4)

    assert "EQUAL LABELS" in world.command("models", "shadow", alias)
    counted, told = world.done("models", "shadow", alias, "--reset", "-o", "json")
    assert (json.loads(counted)["row_count"], "Counted anew from now on" in told) == (15, True)
    assert flare.monitoring.shadow(alias).row_count == 0
    with pytest.raises(FlareError, match="no version") as none:
        flare.monitoring.shadow(f"{model}@none")
    assert none.value.code is grpc.StatusCode.NOT_FOUND


def test_rows_that_are_others_than_those_of_training_have_drifted(world: World, tmp_path: Path) -> None:
    flare = world.flare
    name = f"drift-{uuid4().hex[:8]}"
    dataset = flare.datasets.import_("iris", dataset_id=name).wait()
    view = flare.views.create(dataset, "species", stratify="species", seed=7)
    flare.models.create(name, flare_client.mlp([]), view=view)
    flare.train(name, view, epochs=2, seed=1).wait()
    rows = flare.datasets.to_dataframe(view, "train").drop(columns="species")

    assert not flare.monitoring.drift(name).inputs
    flare.predict(name, rows)
    alike = flare.monitoring.drift(f"{name}/versions/1")
    assert (alike.row_count, alike.reference_row_count, alike.problem) == (len(rows), len(rows), "")
    assert [column.column for column in alike.inputs] == list(rows.columns)
    # The very rows of training; engines differ by what may move a row from one bin of confidence to the next.
    assert max(column.stability_index for column in alike.inputs) == pytest.approx(0, abs=1e-9)
    assert max(column.stability_index for column in alike.outputs) < 0.05
    assert {column.band for column in alike.inputs} == {monitoring_pb2.DRIFT_BAND_STABLE}

    first = rows.columns[0]
    _, told = world.done("models", "drift", name, "--column", "nope", "--reset", status=1)
    assert f"there is no column 'nope': it has species, {', '.join(rows.columns)}" in told
    counted, told = world.done("models", "drift", name, "--reset", "-o", "json")
    assert json.loads(counted)["row_count"] == len(rows)  # the mistake before counted nothing anew
    assert "Counted anew from now on" in told
    output, told = world.done("models", "drift", name, "--column", first)
    assert "IN TRAINING" not in output
    assert "Nothing to compare yet" in told
    flare.predict(name, rows.assign(**{first: rows[first] + 3}))
    moved = flare.monitoring.drift(name)
    assert [column.band == monitoring_pb2.DRIFT_BAND_LARGE for column in moved.inputs] == [True, False, False, False]
    beyond = moved.inputs[0].bins[-1]
    assert (beyond.reference_share, beyond.range.HasField("upper")) == (0, False)
    assert beyond.share == pytest.approx((rows[first] + 3 > rows[first].max()).mean(), abs=0.02)
    assert "large" in world.command("models", "drift", name)
    assert "IN TRAINING" in world.command("models", "drift", name, "--column", first)

    # What its rows were like travels with a version; one that never was trained has nothing to tell.
    imported = flare.models.import_(f"{name}-copy", flare.models.export(name, tmp_path))
    assert flare.monitoring.drift(imported.name).reference_row_count == len(rows)
    assert "no reference.json" in flare.monitoring.drift(world.model).problem
