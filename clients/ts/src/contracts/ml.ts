export * from "../gen/flare/ml/v1/metric_pb.js";
export * from "../gen/flare/ml/v1/model_pb.js";
export * from "../gen/flare/ml/v1/model_service_pb.js";
export * from "../gen/flare/ml/v1/prediction_service_pb.js";
export * from "../gen/flare/ml/v1/specification_pb.js";
export * from "../gen/flare/ml/v1/torch_graph_pb.js";
export * from "../gen/flare/ml/v1/training_job_pb.js";
export * from "../gen/flare/ml/v1/training_service_pb.js";
