import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { JobState } from "./gen/flare/common/v1/job_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import type { BadRequest, ErrorInfo, ResourceInfo, RetryInfo } from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";

/** What is wrong with a field of a request. */
export interface Violation {
  /** The field's path, such as `view.columns[0].column`. */
  readonly field: string;
  readonly description: string;
}

interface Details {
  readonly info?: ErrorInfo | undefined;
  readonly badRequest?: BadRequest | undefined;
  readonly resource?: ResourceInfo | undefined;
  readonly retry?: RetryInfo | undefined;
}

/**
 * How a call or a job failed. Branch on `reason`, which is one of flare.common.v1.ErrorReason without its prefix; the
 * message is for people and may change.
 */
export class FlareError extends Error {
  override readonly name = "FlareError";
  readonly code: Code;
  /** Empty if the failure did not come from Flare itself, such as a lost connection. */
  readonly reason: string;
  /** The values that the message is made of. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Each faulty field of the request. */
  readonly violations: readonly Violation[];
  /** The name of the resource concerned, such as `datasets/iris`; empty if there is none. */
  readonly resource: string;
  /** How long to wait before the call may succeed; undefined if the server does not say. */
  readonly retryDelayMs: number | undefined;

  constructor(code: Code, message: string, details: Details = {}, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.reason = details.info?.reason ?? "";
    this.metadata = details.info?.metadata ?? {};
    this.violations = (details.badRequest?.fieldViolations ?? []).map(({ field, description }) => ({
      field,
      description,
    }));
    this.resource = details.resource?.resourceName ?? "";
    const delay = details.retry?.retryDelay;
    this.retryDelayMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
  }

  /** Turns whatever a call threw into a FlareError. */
  static from(thrown: unknown): FlareError {
    if (thrown instanceof FlareError) {
      return thrown;
    }
    const error = ConnectError.from(thrown);
    const details = {
      info: error.findDetails(ErrorInfoSchema)[0],
      badRequest: error.findDetails(BadRequestSchema)[0],
      resource: error.findDetails(ResourceInfoSchema)[0],
      retry: error.findDetails(RetryInfoSchema)[0],
    };
    return new FlareError(error.code, error.rawMessage, details, thrown);
  }

  /** The failure that a status holds. */
  static fromStatus(status: Status): FlareError {
    const packed = (name: string) => status.details.find(({ typeUrl }) => typeUrl.endsWith(`/${name}`));
    const [info, badRequest, resource, retry] = [
      packed(ErrorInfoSchema.typeName),
      packed(BadRequestSchema.typeName),
      packed(ResourceInfoSchema.typeName),
      packed(RetryInfoSchema.typeName),
    ];
    return new FlareError(status.code, status.message, {
      info: info && anyUnpack(info, ErrorInfoSchema),
      badRequest: badRequest && anyUnpack(badRequest, BadRequestSchema),
      resource: resource && anyUnpack(resource, ResourceInfoSchema),
      retry: retry && anyUnpack(retry, RetryInfoSchema),
    });
  }
}

/** What training jobs and import jobs have in common. */
export interface EndedJob {
  readonly name: string;
  readonly state: JobState;
  readonly error?: Status | undefined;
}

/** Throws why the job failed, or that it was cancelled. */
export function assertSucceeded(job: EndedJob): void {
  if (job.state === JobState.FAILED && job.error) {
    throw FlareError.fromStatus(job.error);
  }
  if (job.state !== JobState.SUCCEEDED) {
    throw new FlareError(Code.Canceled, `${job.name} ended as ${JobState[job.state]}`);
  }
}
