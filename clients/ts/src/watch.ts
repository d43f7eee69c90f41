import { Code } from "@connectrpc/connect";

import { FlareError } from "./errors.js";
import { JobState } from "./gen/flare/common/v1/job_pb.js";

/** How a watch keeps itself attached. */
export interface Watching {
  /** Without a message for so long, a stream is taken for dead; servers send a heartbeat each 15 s. */
  readonly silenceMs: number;
  /** The longest wait before the first re-attachment; it doubles with each one in vain. */
  readonly firstBackoffMs: number;
  readonly lastBackoffMs: number;
  /** Gives up after so long in vain. */
  readonly patienceMs: number;
}

export const DEFAULT_WATCHING: Watching = {
  silenceMs: 45_000,
  firstBackoffMs: 200,
  lastBackoffMs: 10_000,
  patienceMs: 600_000,
};

export interface WatchOptions {
  /** Start with the events after this one; 0 (the default) for all of them. */
  readonly afterSequence?: bigint;
  /** Ends the watch. The job goes on. */
  readonly signal?: AbortSignal;
}

interface WatchedJob {
  readonly state: JobState;
  readonly lastSequence: bigint;
}

interface NumberedEvent {
  readonly sequence: bigint;
}

/** A message of a watch stream. */
interface WatchMessage<Job, Event> {
  readonly message:
    | { readonly case: "snapshot"; readonly value: Job }
    | { readonly case: "event"; readonly value: Event }
    | { readonly case: "heartbeat"; readonly value: unknown }
    | { readonly case: undefined; readonly value?: undefined };
}

type Open<Job, Event> = (afterSequence: bigint, signal: AbortSignal) => AsyncIterable<WatchMessage<Job, Event>>;

/**
 * A job's events in sequence order, up to its end. A lost stream is opened again after the last event seen, so that none
 * is lost or repeated. Of progress events of a training that piled up because they were read slowly comes just the
 * newest, whose `coalescedFrom` is the sequence of the first of them. Leaving the loop ends the watch; the job goes on. A
 * second loop goes on where the first one ended.
 *
 *     const watch = client.watchTrainingJob(name);
 *     for await (const event of watch) { ... }
 *     assertSucceeded(watch.finalJob);
 */
export class Watch<Job extends WatchedJob, Event extends NumberedEvent> implements AsyncIterable<Event> {
  /** The newest snapshot of the job; undefined before the first. */
  job: Job | undefined;
  /** The sequence of the newest event seen: a later watch goes on after it. */
  sequence: bigint;

  private readonly signal: AbortSignal | undefined;
  /** Re-attachments since the last sign of life, and when that was. */
  private attempts = 0;
  private aliveAt = 0;

  constructor(
    private readonly name: string,
    private readonly open: Open<Job, Event>,
    private readonly watching: Watching,
    options: WatchOptions = {},
  ) {
    this.sequence = options.afterSequence ?? 0n;
    this.signal = options.signal;
  }

  /** The job as it ended. Throws a RangeError before the watch has come to its end. */
  get finalJob(): Job {
    if (this.job === undefined || !this.sawAll(this.job)) {
      throw new RangeError(`the watch of ${this.name} has not come to its end`);
    }
    return this.job;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    this.isAlive();
    for (;;) {
      try {
        yield* this.attached();
        if (this.job !== undefined && this.sawAll(this.job)) {
          return;
        }
        throw new FlareError(Code.Unavailable, `the watch of ${this.name} ended before its job`);
      } catch (error) {
        this.signal?.throwIfAborted();
        const failure = FlareError.from(error);
        if (!isPassing(failure) || Date.now() - this.aliveAt > this.watching.patienceMs) {
          throw failure;
        }
        await pause(this.pauseMs(failure), this.signal);
        this.attempts += 1;
      }
    }
  }

  /** The new events of one stream. */
  private async *attached(): AsyncGenerator<Event, void, undefined> {
    const detach = new AbortController();
    const signal = this.signal ? AbortSignal.any([this.signal, detach.signal]) : detach.signal;
    const messages = this.open(this.sequence, signal)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.heard(messages.next());
        if (next.done) {
          return;
        }
        const { message } = next.value;
        if (message.case === "snapshot") {
          this.job = message.value;
          continue;
        }
        this.isAlive();
        if (message.case === "event" && message.value.sequence > this.sequence) {
          this.sequence = message.value.sequence;
          yield message.value;
        }
      }
    } finally {
      detach.abort();
    }
  }

  /** Waits for a message, but not for ever. */
  private async heard<T>(message: Promise<T>): Promise<T> {
    const { silenceMs } = this.watching;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silence = new Promise<never>((_, reject) => {
      const failure = new FlareError(Code.Unavailable, `the watch of ${this.name} heard nothing for ${silenceMs} ms`);
      timer = setTimeout(() => reject(failure), silenceMs);
    });
    try {
      return await Promise.race([message, silence]);
    } finally {
      clearTimeout(timer);
      message.catch(() => undefined); // of an abandoned stream: already told as silence
    }
  }

  private sawAll(job: Job): boolean {
    return isFinal(job.state) && this.sequence >= job.lastSequence;
  }

  private isAlive(): void {
    this.attempts = 0;
    this.aliveAt = Date.now();
  }

  /**
   * How long to wait before the next stream: by chance, so that many watches don't come back at once, and no less than
   * the server asks. An expired token needs none: the next stream takes a new one.
   */
  private pauseMs(failure: FlareError): number {
    if (this.attempts === 0 && failure.reason === "TOKEN_EXPIRED") {
      return 0;
    }
    const { firstBackoffMs, lastBackoffMs } = this.watching;
    const longest = Math.min(firstBackoffMs * 2 ** this.attempts, lastBackoffMs);
    return Math.max(Math.random() * longest, failure.retryDelayMs ?? 0);
  }
}

function isFinal(state: JobState): boolean {
  return state === JobState.SUCCEEDED || state === JobState.FAILED || state === JobState.CANCELLED;
}

/**
 * Says whether a stream that ended so may be opened again. INTERNAL and its like are only passing when the transport made
 * them (RST_STREAM, a lost connection): what Flare says itself carries a reason.
 */
function isPassing(failure: FlareError): boolean {
  switch (failure.code) {
    case Code.Unavailable:
      return true;
    case Code.Unauthenticated:
      return failure.reason === "TOKEN_EXPIRED";
    case Code.Internal:
    case Code.Unknown:
    case Code.Canceled:
    case Code.Aborted:
      return failure.reason === "";
    default:
      return false;
  }
}

function pause(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abandon = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abandon);
      resolve();
    }, durationMs);
    signal?.addEventListener("abort", abandon, { once: true });
  });
}
