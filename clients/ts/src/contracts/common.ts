export * from "../gen/flare/common/v1/error_reason_pb.js";
export * from "../gen/flare/common/v1/job_pb.js";
