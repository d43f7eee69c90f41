"""Models and versions between the contract and their values."""

from flare.ml.v1 import metric_pb2, model_pb2, model_service_pb2, specification_pb2
from flare.scraper.v1 import dataset_pb2

from ml_server.features.columns import ColumnType
from ml_server.features.encodings import CategoryEncoding, FittedColumn, ImageEncoding, NumberEncoding
from ml_server.features.targets import FittedTarget, Task
from ml_server.networks.registered_module import ModuleDescription
from ml_server.networks.shapes import ModelSize
from ml_server.registry.aliases import Alias, Share
from ml_server.registry.bundle import Preprocessing
from ml_server.registry.models import NewModel
from ml_server.registry.values import ClassificationReport, Metric, Model, ModelVersion
from ml_server.rpc.engine_converters import serving_engine_message
from ml_server.rpc.specification_converters import model_specification, model_specification_message
from ml_server.views.image_messages import image_shape_message
from servicekit.errors import InvalidArgument
from servicekit.rpc.jobs import timestamp_message

COLUMN_TYPE_OF = {
    ColumnType.INTEGER: dataset_pb2.COLUMN_TYPE_INTEGER,
    ColumnType.FLOAT: dataset_pb2.COLUMN_TYPE_FLOAT,
    ColumnType.BOOLEAN: dataset_pb2.COLUMN_TYPE_BOOLEAN,
    ColumnType.DATETIME: dataset_pb2.COLUMN_TYPE_DATETIME,
    ColumnType.CATEGORICAL: dataset_pb2.COLUMN_TYPE_CATEGORICAL,
    ColumnType.TEXT: dataset_pb2.COLUMN_TYPE_TEXT,
    ColumnType.IMAGE: dataset_pb2.COLUMN_TYPE_IMAGE,
}
NUMBER_ENCODING_OF = {
    "standardize": specification_pb2.ENCODING_STANDARDIZE,
    "min_max": specification_pb2.ENCODING_MIN_MAX,
    "pass_through": specification_pb2.ENCODING_PASS_THROUGH,
}
TASK_OF = {
    Task.REGRESSION: model_pb2.TASK_REGRESSION,
    Task.BINARY_CLASSIFICATION: model_pb2.TASK_BINARY_CLASSIFICATION,
    Task.MULTICLASS_CLASSIFICATION: model_pb2.TASK_MULTICLASS_CLASSIFICATION,
}


def new_model(request: model_service_pb2.CreateModelRequest) -> NewModel:
    """What CreateModel asks for. Raises InvalidArgument as `model_specification`, from `model.specification` on."""
    try:
        specification = model_specification(request.model.specification)
    except InvalidArgument as error:
        raise error.at("model.specification.") from error
    return NewModel(request.model_id, request.model.display_name, specification, request.view)


def model_message(model: Model, size: ModelSize | None = None) -> model_pb2.Model:
    """A model; with its size in the answer of CreateModel."""
    return model_pb2.Model(
        name=model.name,
        display_name=model.display_name,
        specification=model_specification_message(model.specification),
        aliases=[_alias_message(name, alias) for name, alias in model.aliases.items()],
        latest_version=model.latest_version,
        has_initial_weights=model.has_initial_weights,
        create_time=timestamp_message(model.create_time),
        update_time=timestamp_message(model.update_time),
        etag=model.etag,
        size=size_message(size) if size else None,
    )


def alias_of(request: model_service_pb2.SetModelAliasRequest) -> Alias:
    """What SetModelAlias asks for. Raises InvalidArgument as `Alias.checked`."""
    shares = [Share(share.version, share.weight) for share in request.shares]
    return Alias.checked(request.version, shares, request.shadow_version)


def _alias_message(name: str, alias: Alias) -> model_pb2.ModelAlias:
    return model_pb2.ModelAlias(
        alias=name,
        version=alias.version,
        shares=[model_pb2.AliasShare(version=share.version, weight=share.weight) for share in alias.shares],
        shadow_version=alias.shadow,
    )


def unsaved_model_message(new: NewModel, size: ModelSize | None) -> model_pb2.Model:
    """The model as it would be, for a request that only checks."""
    return model_pb2.Model(
        name=f"models/{new.id}",
        display_name=new.display_name,
        specification=model_specification_message(new.specification),
        size=size_message(size) if size else None,
    )


def size_message(size: ModelSize) -> model_pb2.ModelSize:
    """What a network weighs."""
    return model_pb2.ModelSize(
        parameter_count=size.parameter_count, feature_count=size.feature_count, output_count=size.output_count
    )


def metric_message(metric: Metric) -> metric_pb2.Metric:
    """A figure of quality."""
    return metric_pb2.Metric(name=metric.name, target=metric.target, value=metric.value)


def report_message(report: ClassificationReport) -> metric_pb2.ClassificationReport:
    """How each class of a target does."""
    return metric_pb2.ClassificationReport(
        target=report.target,
        classes=[metric_pb2.ClassMetrics(**vars(each)) for each in report.classes],
        confusion_matrix=report.confusion_matrix,
    )


def version_message(version: ModelVersion, preprocessing: Preprocessing) -> model_pb2.ModelVersion:
    """A version with its signature and reports."""
    message = listed_version_message(version, preprocessing)
    message.test_reports.extend(map(report_message, version.details.test_reports))
    message.validation_reports.extend(map(report_message, version.details.validation_reports))
    return message


def listed_version_message(version: ModelVersion, preprocessing: Preprocessing) -> model_pb2.ModelVersion:
    """A version with its signature, as one of many."""
    details = version.details
    return model_pb2.ModelVersion(
        name=version.name,
        training_job=f"trainingJobs/{details.training_job}" if details.training_job else "",
        view=details.view,
        view_digest=details.view_digest,
        seed=details.seed,
        signature=model_pb2.Signature(
            inputs=[_input_message(column) for column in preprocessing.features.columns],
            targets=[_target_message(target) for target in preprocessing.targets.targets],
        ),
        test_metrics=map(metric_message, details.test_metrics),
        validation_metrics=map(metric_message, details.validation_metrics),
        best_epoch=details.best_epoch,
        parameter_count=details.parameter_count,
        size_bytes=version.size_bytes,
        digest=details.digest,
        library_versions=details.library_versions,
        device=details.device,
        create_time=timestamp_message(version.create_time),
        specification=model_specification_message(version.model.specification),
        base_version=details.base_version,
        engine=serving_engine_message(details.engine) if details.engine else None,
    )


def module_message(module: ModuleDescription) -> model_service_pb2.ModuleDescription:
    """A registered module."""
    return model_service_pb2.ModuleDescription(
        module=module.module,
        description=module.description,
        parameters=[
            model_service_pb2.ModuleParameterDescription(
                name=parameter.name,
                type=parameter.type,
                default_json=parameter.default_json,
            )
            for parameter in module.parameters
        ],
    )


def _input_message(column: FittedColumn) -> model_pb2.InputColumn:
    encoding = column.encoding
    if isinstance(encoding, NumberEncoding | ImageEncoding):
        kind = NUMBER_ENCODING_OF[encoding.encoding]
    elif isinstance(encoding, CategoryEncoding):
        is_embedded = encoding.dim is not None
        kind = specification_pb2.ENCODING_EMBEDDING if is_embedded else specification_pb2.ENCODING_ONE_HOT
    else:
        kind = specification_pb2.ENCODING_TIME_PARTS
    return model_pb2.InputColumn(
        name=column.name,
        type=COLUMN_TYPE_OF[column.type],
        encoding=kind,
        accepts_missing=column.accepts_missing,
        categories=encoding.categories if isinstance(encoding, CategoryEncoding) else (),
        image=image_shape_message(encoding.shape) if isinstance(encoding, ImageEncoding) else None,
    )


def _target_message(target: FittedTarget) -> model_pb2.TargetColumn:
    return model_pb2.TargetColumn(name=target.name, task=TASK_OF[target.task], classes=target.classes)
