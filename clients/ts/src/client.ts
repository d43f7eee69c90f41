import type { Client, Transport } from "@connectrpc/connect";

import { Calls } from "./calls.js";
import type { Credentials } from "./credentials.js";
import { AccountService } from "./gen/flare/auth/v1/account_service_pb.js";
import { AuthService } from "./gen/flare/auth/v1/auth_service_pb.js";
import type { BatchPrediction, BatchPredictionEvent } from "./gen/flare/ml/v1/batch_prediction_pb.js";
import { BatchPredictionService } from "./gen/flare/ml/v1/batch_prediction_service_pb.js";
import { EvaluationService } from "./gen/flare/ml/v1/evaluation_service_pb.js";
import { ModelService } from "./gen/flare/ml/v1/model_service_pb.js";
import { MonitoringService } from "./gen/flare/ml/v1/monitoring_service_pb.js";
import { PredictionService } from "./gen/flare/ml/v1/prediction_service_pb.js";
import type { Sweep, SweepEvent } from "./gen/flare/ml/v1/sweep_pb.js";
import { SweepService } from "./gen/flare/ml/v1/sweep_service_pb.js";
import type { TrainingEvent, TrainingJob } from "./gen/flare/ml/v1/training_job_pb.js";
import { TrainingService } from "./gen/flare/ml/v1/training_service_pb.js";
import type { ImportEvent, ImportJob } from "./gen/flare/scraper/v1/import_job_pb.js";
import { ScraperService } from "./gen/flare/scraper/v1/scraper_service_pb.js";
import { DEFAULT_WATCHING, Watch } from "./watch.js";
import type { Watching, WatchOptions } from "./watch.js";

/** How a client calls, wherever it runs. */
export interface ClientOptions {
  /** The deadline of unary calls that are given none: 60 000 ms unless set. Streams get none. */
  readonly timeoutMs?: number;
  /** How watches keep themselves attached. */
  readonly watching?: Partial<Watching>;
}

/** A transport to each service. */
export interface Transports {
  readonly auth: Transport;
  readonly scraper: Transport;
  readonly ml: Transport;
}

/** Holds a client of each service. Calls and streams throw FlareError. */
export class FlareClient {
  readonly auth: Client<typeof AuthService>;
  readonly accounts: Client<typeof AccountService>;
  readonly scraper: Client<typeof ScraperService>;
  readonly models: Client<typeof ModelService>;
  readonly training: Client<typeof TrainingService>;
  readonly sweeps: Client<typeof SweepService>;
  readonly predictions: Client<typeof PredictionService>;
  readonly evaluation: Client<typeof EvaluationService>;
  readonly monitoring: Client<typeof MonitoringService>;
  readonly batchPredictions: Client<typeof BatchPredictionService>;

  private readonly watching: Watching;

  private constructor(
    calls: Calls,
    transports: Transports,
    options: ClientOptions,
    private readonly closeTransports: () => void,
  ) {
    this.auth = calls.client(AuthService, transports.auth);
    this.accounts = calls.client(AccountService, transports.auth);
    this.scraper = calls.client(ScraperService, transports.scraper);
    this.models = calls.client(ModelService, transports.ml);
    this.training = calls.client(TrainingService, transports.ml);
    this.sweeps = calls.client(SweepService, transports.ml);
    this.predictions = calls.client(PredictionService, transports.ml);
    this.evaluation = calls.client(EvaluationService, transports.ml);
    this.monitoring = calls.client(MonitoringService, transports.ml);
    this.batchPredictions = calls.client(BatchPredictionService, transports.ml);
    this.watching = { ...DEFAULT_WATCHING, ...options.watching };
  }

  /** Makes a client over given transports and gets its first token, so that wrong credentials are told at once. */
  static async over(
    transports: Transports,
    credentials: Credentials,
    options: ClientOptions = {},
    closeTransports: () => void = () => undefined,
  ): Promise<FlareClient> {
    const calls = new Calls(options.timeoutMs ?? 60_000);
    const client = new FlareClient(calls, transports, options, closeTransports);
    try {
      await calls.useTokensOf(credentials(client.auth));
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /** Follows the events of `trainingJobs/{training_job}`. */
  watchTrainingJob(name: string, options?: WatchOptions): Watch<TrainingJob, TrainingEvent> {
    return new Watch<TrainingJob, TrainingEvent>(
      name,
      (afterSequence, signal) => this.training.watchTrainingJob({ name, afterSequence }, { signal }),
      this.watching,
      options,
    );
  }

  /** Follows the events of `sweeps/{sweep}`. */
  watchSweep(name: string, options?: WatchOptions): Watch<Sweep, SweepEvent> {
    return new Watch<Sweep, SweepEvent>(
      name,
      (afterSequence, signal) => this.sweeps.watchSweep({ name, afterSequence }, { signal }),
      this.watching,
      options,
    );
  }

  /** Follows the events of `batchPredictions/{batch_prediction}`. */
  watchBatchPrediction(name: string, options?: WatchOptions): Watch<BatchPrediction, BatchPredictionEvent> {
    return new Watch<BatchPrediction, BatchPredictionEvent>(
      name,
      (afterSequence, signal) => this.batchPredictions.watchBatchPrediction({ name, afterSequence }, { signal }),
      this.watching,
      options,
    );
  }

  /** Follows the events of `importJobs/{import_job}`. */
  watchImportJob(name: string, options?: WatchOptions): Watch<ImportJob, ImportEvent> {
    return new Watch<ImportJob, ImportEvent>(
      name,
      (afterSequence, signal) => this.scraper.watchImportJob({ name, afterSequence }, { signal }),
      this.watching,
      options,
    );
  }

  /** Ends the connections, and with them the calls and streams under way. */
  close(): void {
    this.closeTransports();
  }
}
