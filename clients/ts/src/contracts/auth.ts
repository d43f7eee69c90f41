export * from "../gen/flare/auth/v1/account_pb.js";
export * from "../gen/flare/auth/v1/account_service_pb.js";
export * from "../gen/flare/auth/v1/auth_service_pb.js";
export * from "../gen/flare/auth/v1/options_pb.js";
export * from "../gen/flare/auth/v1/token_pb.js";
