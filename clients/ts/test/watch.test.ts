import { create, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, describe, expect, test } from "vitest";

import { connectWeb } from "../src/web.js";
import { assertSucceeded, connect, FlareClient, FlareError, gateway, login, token } from "../src/index.js";
import type { ClientOptions, Credentials } from "../src/index.js";
import { JobState } from "../src/gen/flare/common/v1/job_pb.js";
import type { WatchTrainingJobResponseSchema } from "../src/gen/flare/ml/v1/training_service_pb.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { failure, FakeServices, PASSWORD } from "./fake_services.js";

const NAME = "trainingJobs/t";
/** How many events the job of these tests has. */
const LAST = 12n;
/** Re-attaches in test time. */
const QUICK: ClientOptions = { watching: { firstBackoffMs: 1, lastBackoffMs: 20 } };

type Reply = MessageInitShape<typeof WatchTrainingJobResponseSchema>;

const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) {
    await close();
  }
});

async function startServices(protocol: "grpc" | "grpc-web" = "grpc"): Promise<FakeServices> {
  const services = await FakeServices.start(protocol);
  opened.push(() => services.stop());
  return services;
}

async function connectTo(
  services: FakeServices,
  options: ClientOptions = QUICK,
  credentials: Credentials = login("ann", PASSWORD),
): Promise<FlareClient> {
  const client = await connect(gateway(services.address), credentials, options);
  opened.push(() => client.close());
  return client;
}

function snapshot(state: JobState): Reply {
  return { message: { case: "snapshot", value: { name: NAME, state, lastSequence: LAST } } };
}

/** Waits until the client hangs up. */
function hungUp(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Ends a stream, or keeps it from going on. */
type Fault = (services: FakeServices, signal: AbortSignal) => void | Promise<void>;

const PASSING_FAULTS: Record<string, Fault> = {
  unavailable: () => {
    throw failure(Code.Unavailable, "SHUTTING_DOWN", "draining");
  },
  "expired token": (services) => {
    services.expireTokens();
    throw failure(Code.Unauthenticated, "TOKEN_EXPIRED", "the token has ended");
  },
  "reset stream": () => {
    throw new ConnectError("stream terminated by RST_STREAM", Code.Internal);
  },
  "cut connection": async (services, signal) => {
    services.cut();
    await hungUp(signal);
  },
  "reset connection": async (services, signal) => {
    services.reset();
    await hungUp(signal);
  },
  silence: (_, signal) => hungUp(signal),
  "early end": () => undefined,
};

/** Serves the job's events, `each` in a stream before the fault, which waits until the client has them. */
class FaultyWatch {
  streams = 0;
  /** The newest event that the client has got, and who waits for it. */
  private received = 0n;
  private wakeup: () => void = () => undefined;

  constructor(
    private readonly services: FakeServices,
    private readonly each: bigint,
    private readonly fault: Fault,
    private readonly firstState = JobState.RUNNING,
  ) {
    services.training.watchTrainingJob = (request, context) => this.serve(request.afterSequence, context.signal);
  }

  async sequencesSeen(events: AsyncIterable<{ readonly sequence: bigint }>): Promise<bigint[]> {
    const seen: bigint[] = [];
    for await (const { sequence } of events) {
      seen.push(sequence);
      this.received = sequence;
      this.wakeup();
    }
    return seen;
  }

  private async *serve(after: bigint, signal: AbortSignal): AsyncGenerator<Reply> {
    this.streams += 1;
    yield snapshot(this.firstState);
    for (let sequence = after + 1n; sequence <= LAST; sequence++) {
      if (sequence > after + this.each) {
        while (this.received < sequence - 1n) {
          await new Promise<void>((resolve) => (this.wakeup = resolve));
        }
        await this.fault(this.services, signal);
        return;
      }
      yield { message: { case: "event", value: { sequence } } };
    }
    yield snapshot(JobState.SUCCEEDED);
  }
}

function sequencesFrom(first: bigint): bigint[] {
  return Array.from({ length: Number(LAST - first) + 1 }, (_, index) => first + BigInt(index));
}

describe.each(Object.keys(PASSING_FAULTS))("a watch through the fault '%s'", (name) => {
  test.each([1n, 5n])("after each %d events loses and repeats nothing", async (each) => {
    const services = await startServices();
    const faulty = new FaultyWatch(services, each, PASSING_FAULTS[name]!);
    const silenceMs = name === "silence" ? 100 : 10_000;
    const client = await connectTo(services, { watching: { ...QUICK.watching, silenceMs } });
    const watch = client.watchTrainingJob(NAME);
    expect(await faulty.sequencesSeen(watch)).toEqual(sequencesFrom(1n));
    expect(faulty.streams).toBeGreaterThan(1);
    expect(watch.finalJob.state).toBe(JobState.SUCCEEDED);
    assertSucceeded(watch.finalJob);
  });

  test("over gRPC-Web loses and repeats nothing", async () => {
    const services = await startServices("grpc-web");
    const faulty = new FaultyWatch(services, 5n, PASSING_FAULTS[name]!);
    const silenceMs = name === "silence" ? 100 : 10_000;
    const client = await connectWeb(gateway(services.address), login("ann", PASSWORD), {
      watching: { ...QUICK.watching, silenceMs },
    });
    const watch = client.watchTrainingJob(NAME);
    expect(await faulty.sequencesSeen(watch)).toEqual(sequencesFrom(1n));
    expect(watch.finalJob.state).toBe(JobState.SUCCEEDED);
  });
});

test("a watch begins after the given sequence", async () => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, LAST, () => undefined);
  const watch = (await connectTo(services)).watchTrainingJob(NAME, { afterSequence: 7n });
  expect(await faulty.sequencesSeen(watch)).toEqual(sequencesFrom(8n));
  expect(watch.sequence).toBe(LAST);
});

test("a watch of a finished job that is cut short goes on", async () => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, 5n, PASSING_FAULTS["early end"]!, JobState.SUCCEEDED);
  const watch = (await connectTo(services)).watchTrainingJob(NAME);
  expect(await faulty.sequencesSeen(watch)).toEqual(sequencesFrom(1n));
});

test("a watch skips events that a server repeats", async () => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, LAST, () => undefined);
  const serve = services.training.watchTrainingJob!;
  services.training.watchTrainingJob = (request, context) => serve({ ...request, afterSequence: 0n }, context);
  const watch = (await connectTo(services)).watchTrainingJob(NAME, { afterSequence: 4n });
  expect(await faulty.sequencesSeen(watch)).toEqual(sequencesFrom(5n));
});

test("heartbeats keep a quiet stream", async () => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, LAST, () => undefined);
  const serve = services.training.watchTrainingJob!;
  services.training.watchTrainingJob = async function* (request, context) {
    for (let beat = 0; beat < 8; beat++) {
      // The quiet itself: in all longer than a stream may be silent.
      await new Promise((resolve) => setTimeout(resolve, 100));
      yield { message: { case: "heartbeat", value: { sequence: request.afterSequence } } };
    }
    yield* serve(request, context);
  };
  const client = await connectTo(services, { watching: { ...QUICK.watching, silenceMs: 400 } });
  expect(await faulty.sequencesSeen(client.watchTrainingJob(NAME))).toEqual(sequencesFrom(1n));
  expect(faulty.streams).toBe(1);
});

test.each([
  [Code.NotFound, "NOT_FOUND"],
  [Code.Internal, "INTERNAL"],
  [Code.OutOfRange, "EVENTS_OUT_OF_RANGE"],
  [Code.PermissionDenied, "SCOPE_MISSING"],
])("a watch ends with failure %d (%s)", async (code, reason) => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, 3n, () => {
    throw failure(code, reason, "it stays so");
  });
  const watch = (await connectTo(services)).watchTrainingJob(NAME);
  await expect(faulty.sequencesSeen(watch)).rejects.toMatchObject({ name: "FlareError", code, reason });
  expect(watch.sequence).toBe(3n);
  expect(() => watch.finalJob).toThrow(RangeError);
});

test("a watch with a token that can't be renewed ends", async () => {
  const services = await startServices();
  services.access = "given";
  const faulty = new FaultyWatch(services, 3n, PASSING_FAULTS["expired token"]!);
  const watch = (await connectTo(services, QUICK, token("given"))).watchTrainingJob(NAME);
  await expect(faulty.sequencesSeen(watch)).rejects.toMatchObject({ code: Code.Unauthenticated });
});

test("a watch gives up when its patience ends", async () => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, 0n, PASSING_FAULTS["unavailable"]!);
  const client = await connectTo(services, { watching: { ...QUICK.watching, patienceMs: 50 } });
  const watch = client.watchTrainingJob(NAME);
  await expect(faulty.sequencesSeen(watch)).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
});

test("a watch that hears nothing says so", async () => {
  const services = await startServices();
  new FaultyWatch(services, 0n, PASSING_FAULTS["silence"]!);
  const client = await connectTo(services, { watching: { ...QUICK.watching, silenceMs: 50, patienceMs: 0 } });
  const events = client.watchTrainingJob(NAME)[Symbol.asyncIterator]();
  await expect(events.next()).rejects.toThrow("heard nothing for 50 ms");
});

test("leaving the loop ends the stream, and a second loop goes on", async () => {
  const services = await startServices();
  const faulty = new FaultyWatch(services, LAST, () => undefined);
  const serve = services.training.watchTrainingJob!;
  let tellGone: () => void;
  const gone = new Promise<void>((resolve) => (tellGone = resolve));
  services.training.watchTrainingJob = async function* (_, { signal }) {
    yield { message: { case: "event", value: { sequence: 1n } } };
    yield { message: { case: "event", value: { sequence: 2n } } };
    await hungUp(signal);
    tellGone();
  };
  const watch = (await connectTo(services)).watchTrainingJob(NAME);
  for await (const { sequence } of watch) {
    if (sequence === 2n) {
      break;
    }
  }
  await gone;
  services.training.watchTrainingJob = serve;
  expect(await faulty.sequencesSeen(watch)).toEqual(sequencesFrom(3n));
});

test("an aborted signal ends the watch with its reason", async () => {
  const services = await startServices();
  new FaultyWatch(services, 3n, PASSING_FAULTS["silence"]!);
  const stop = new AbortController();
  const watch = (await connectTo(services)).watchTrainingJob(NAME, { signal: stop.signal });
  const looking = (async () => {
    for await (const { sequence } of watch) {
      if (sequence === 3n) {
        stop.abort(new Error("seen enough"));
      }
    }
  })();
  await expect(looking).rejects.toThrow("seen enough");
});

test("an import watch re-attaches too, and tells why its job failed", async () => {
  const services = await startServices();
  const info = create(ErrorInfoSchema, { reason: "FILE_EMPTY", domain: "flare" });
  const error = {
    code: Code.InvalidArgument,
    message: "'a.csv' has no rows",
    details: [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: toBinary(ErrorInfoSchema, info) }],
  };
  services.scraper.watchImportJob = async function* ({ afterSequence }) {
    if (afterSequence === 3n) {
      const job = { name: "importJobs/i", state: JobState.FAILED, lastSequence: 3n, error };
      yield { message: { case: "snapshot", value: job } };
      return;
    }
    yield { message: { case: "event", value: { sequence: afterSequence + 1n } } };
    throw failure(Code.Unavailable, "SHUTTING_DOWN", "draining");
  };
  const watch = (await connectTo(services)).watchImportJob("importJobs/i");
  const seen: bigint[] = [];
  for await (const { sequence } of watch) {
    seen.push(sequence);
  }
  expect(seen).toEqual([1n, 2n, 3n]);
  expect(() => assertSucceeded(watch.finalJob)).toThrow(FlareError);
  expect(() => assertSucceeded(watch.finalJob)).toThrow("'a.csv' has no rows");
});

test("a sweep watch re-attaches too, and ends with the best trial", async () => {
  const services = await startServices();
  services.sweeps.watchSweep = async function* ({ afterSequence }) {
    if (afterSequence === 2n) {
      const best = { number: 1, trainingJob: "trainingJobs/s-1", value: 0.25 };
      const sweep = { name: "sweeps/s", state: JobState.SUCCEEDED, lastSequence: 2n, bestTrial: best };
      yield { message: { case: "snapshot", value: sweep } };
      return;
    }
    const event = { case: "trialEnded", value: { number: Number(afterSequence) + 1 } } as const;
    yield { message: { case: "event", value: { sequence: afterSequence + 1n, event } } };
    throw failure(Code.Unavailable, "SHUTTING_DOWN", "draining");
  };
  const watch = (await connectTo(services)).watchSweep("sweeps/s");
  const ended: number[] = [];
  for await (const { event } of watch) {
    if (event.case === "trialEnded") {
      ended.push(event.value.number);
    }
  }
  expect(ended).toEqual([1, 2]);
  expect(watch.finalJob.bestTrial?.value).toBe(0.25);
});

test("a watch of a batch prediction re-attaches too, and ends with the data set", async () => {
  const services = await startServices();
  services.batchPredictions.watchBatchPrediction = async function* ({ afterSequence }) {
    if (afterSequence === 2n) {
      const job = { name: "batchPredictions/b", state: JobState.SUCCEEDED, lastSequence: 2n, dataset: "datasets/d" };
      yield { message: { case: "snapshot", value: job } };
      return;
    }
    const event = { case: "progress", value: { predictedRows: 10n * (afterSequence + 1n) } } as const;
    yield { message: { case: "event", value: { sequence: afterSequence + 1n, event } } };
    throw failure(Code.Unavailable, "SHUTTING_DOWN", "draining");
  };
  const watch = (await connectTo(services)).watchBatchPrediction("batchPredictions/b");
  const rows: bigint[] = [];
  for await (const { event } of watch) {
    if (event.case === "progress") {
      rows.push(event.value.predictedRows);
    }
  }
  expect(rows).toEqual([10n, 20n]);
  expect(watch.finalJob.dataset).toBe("datasets/d");
});
