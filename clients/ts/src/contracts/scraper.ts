export * from "../gen/flare/scraper/v1/dataset_pb.js";
export * from "../gen/flare/scraper/v1/dataset_view_pb.js";
export * from "../gen/flare/scraper/v1/import_job_pb.js";
export * from "../gen/flare/scraper/v1/scraper_service_pb.js";
export * from "../gen/flare/scraper/v1/source_pb.js";
export * from "../gen/flare/scraper/v1/upload_session_pb.js";
