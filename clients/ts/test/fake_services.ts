/** Real HTTP servers that play all three services, with faults at a test's wish. */
import * as http from "node:http";
import * as http2 from "node:http2";
import type { AddressInfo, Socket } from "node:net";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import type { ConnectRouter, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import { AuthService } from "../src/gen/flare/auth/v1/auth_service_pb.js";
import { PredictionService } from "../src/gen/flare/ml/v1/prediction_service_pb.js";
import { BatchPredictionService } from "../src/gen/flare/ml/v1/batch_prediction_service_pb.js";
import { SweepService } from "../src/gen/flare/ml/v1/sweep_service_pb.js";
import { TrainingService } from "../src/gen/flare/ml/v1/training_service_pb.js";
import { ScraperService } from "../src/gen/flare/scraper/v1/scraper_service_pb.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";

export const PASSWORD = "correct horse battery";

export class FakeServices {
  address = "";
  tokenLifeMs = 3_600_000;
  logins = 0;
  renewals = 0;
  /** Renewals before the end of the access token. */
  early = 0;
  /** The one valid token of each kind. */
  access = "";
  refresh = "";

  training: Partial<ServiceImpl<typeof TrainingService>> = {};
  sweeps: Partial<ServiceImpl<typeof SweepService>> = {};
  batchPredictions: Partial<ServiceImpl<typeof BatchPredictionService>> = {};
  scraper: Partial<ServiceImpl<typeof ScraperService>> = {};
  predictions: Partial<ServiceImpl<typeof PredictionService>> = {};

  private issued = 0;
  private endsAt = 0;
  private readonly sockets = new Set<Socket>();
  private server: http.Server | http2.Http2Server | undefined;

  /** Starts a server for gRPC, or for gRPC-Web over HTTP/1.1 as browsers' gateways take it. */
  static async start(protocol: "grpc" | "grpc-web" = "grpc"): Promise<FakeServices> {
    const services = new FakeServices();
    const handler = connectNodeAdapter({ routes: (router) => services.routes(router), readMaxBytes: 16 * 1024 * 1024 });
    const server = protocol === "grpc" ? http2.createServer(handler) : http.createServer(handler);
    server.on("connection", (socket: Socket) => {
      services.sockets.add(socket);
      socket.on("close", () => services.sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    services.server = server;
    services.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    return services;
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  /** Ends every connection in mid-call. */
  cut(): void {
    for (const socket of this.sockets) {
      socket.destroy();
    }
  }

  /** Ends every connection with a TCP reset, as a host does that has forgotten it. */
  reset(): void {
    for (const socket of this.sockets) {
      socket.resetAndDestroy();
    }
  }

  /** Ends every access token issued so far. */
  expireTokens(): void {
    this.access = "ended";
  }

  private routes(router: ConnectRouter): void {
    router.service(AuthService, {
      login: ({ username, password }, context) => {
        if (context.requestHeader.has("authorization")) {
          throw failure(Code.Internal, "INTERNAL", "a public method was called with a token");
        }
        this.logins += 1;
        if (username !== "ann" || password !== PASSWORD) {
          throw failure(Code.Unauthenticated, "CREDENTIALS_REJECTED", "no account 'ann' with this password");
        }
        return this.issue();
      },
      refreshTokens: ({ refreshToken }) => {
        this.renewals += 1;
        this.early += Date.now() < this.endsAt ? 1 : 0;
        if (refreshToken !== this.refresh) {
          throw failure(Code.Unauthenticated, "REFRESH_TOKEN_REJECTED", "log in again");
        }
        return this.issue();
      },
    });
    router.service(TrainingService, {
      getTrainingJob: (request, context) => {
        this.authorize(context);
        return this.training.getTrainingJob!(request, context);
      },
      watchTrainingJob: (request, context) => {
        this.authorize(context);
        return this.training.watchTrainingJob!(request, context);
      },
    });
    router.service(SweepService, {
      watchSweep: (request, context) => {
        this.authorize(context);
        return this.sweeps.watchSweep!(request, context);
      },
    });
    router.service(BatchPredictionService, {
      watchBatchPrediction: (request, context) => {
        this.authorize(context);
        return this.batchPredictions.watchBatchPrediction!(request, context);
      },
    });
    router.service(ScraperService, {
      watchImportJob: (request, context) => {
        this.authorize(context);
        return this.scraper.watchImportJob!(request, context);
      },
    });
    router.service(PredictionService, {
      predict: (request, context) => {
        this.authorize(context);
        return this.predictions.predict!(request, context);
      },
    });
  }

  private issue() {
    this.issued += 1;
    this.access = `access-${this.issued}`;
    this.refresh = `refresh-${this.issued}`;
    this.endsAt = Date.now() + this.tokenLifeMs;
    return {
      accessToken: this.access,
      accessExpireTime: timestampFromMs(this.endsAt),
      refreshToken: this.refresh,
    };
  }

  private authorize(context: HandlerContext): void {
    const given = context.requestHeader.get("authorization");
    if (given === null) {
      throw failure(Code.Unauthenticated, "TOKEN_MISSING", "no token");
    }
    if (given !== `Bearer ${this.access}`) {
      throw failure(Code.Unauthenticated, "TOKEN_EXPIRED", "the token has ended");
    }
  }
}

/** An error as Flare's services make them. */
export function failure(code: Code, reason: string, message: string): ConnectError {
  return new ConnectError(message, code, undefined, [{ desc: ErrorInfoSchema, value: { reason, domain: "flare" } }]);
}
