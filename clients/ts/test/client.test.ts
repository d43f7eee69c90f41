import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, expect, test } from "vitest";

import { connectWeb } from "../src/web.js";
import { connect, FlareClient, FlareError, gateway, login, token } from "../src/index.js";
import type { ClientOptions } from "../src/index.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";
import { failure, FakeServices, PASSWORD } from "./fake_services.js";

const NAME = "trainingJobs/t";

const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) {
    await close();
  }
});

async function startServices(): Promise<FakeServices> {
  const services = await FakeServices.start();
  services.training.getTrainingJob = () => ({ name: NAME });
  opened.push(() => services.stop());
  return services;
}

async function connectTo(services: FakeServices, options: ClientOptions = {}): Promise<FlareClient> {
  const client = await connect(gateway(services.address), login("ann", PASSWORD), options);
  opened.push(() => client.close());
  return client;
}

test("a wrong password fails the connection", async () => {
  const services = await startServices();
  const connecting = connect(gateway(services.address), login("ann", "wrong"));
  await expect(connecting).rejects.toMatchObject({ name: "FlareError", reason: "CREDENTIALS_REJECTED" });
});

test.each(["example.org", "", "ftp://example.org:21"])("the address '%s' is refused by name", async (address) => {
  await expect(connect(gateway(address), token("t"))).rejects.toThrow(`address '${address}': want host:port`);
});

test("an expired token is renewed once and the call repeated", async () => {
  const services = await startServices();
  const client = await connectTo(services);
  services.expireTokens();
  expect((await client.training.getTrainingJob({ name: NAME })).name).toBe(NAME);
  expect([services.logins, services.renewals]).toEqual([1, 1]);
});

test("calls that find their token expired together renew it once", async () => {
  const services = await startServices();
  const client = await connectTo(services);
  services.expireTokens();
  await Promise.all(Array.from({ length: 20 }, () => client.training.getTrainingJob({ name: NAME })));
  expect(services.renewals).toBe(1);
});

test("a rejected refresh token leads to a new login", async () => {
  const services = await startServices();
  const client = await connectTo(services);
  services.expireTokens();
  services.refresh = "revoked";
  await client.training.getTrainingJob({ name: NAME });
  expect(services.logins).toBe(2);
});

test("a token is renewed before it ends", async () => {
  const services = await startServices();
  services.tokenLifeMs = 2_000;
  const client = await connectTo(services);
  while (services.renewals === 0) {
    await client.training.getTrainingJob({ name: NAME });
  }
  expect(services.early).toBe(services.renewals);
});

test("a token that expires twice is the caller's error", async () => {
  const services = await startServices();
  let calls = 0;
  services.training.getTrainingJob = () => {
    calls += 1;
    throw failure(Code.Unauthenticated, "TOKEN_EXPIRED", "the token has ended");
  };
  const client = await connectTo(services);
  await expect(client.training.getTrainingJob({ name: NAME })).rejects.toMatchObject({ reason: "TOKEN_EXPIRED" });
  expect(calls).toBe(2);
});

test("unary calls have a deadline", async () => {
  const services = await startServices();
  services.training.getTrainingJob = (_, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const client = await connectTo(services, { timeoutMs: 50 });
  const call = client.training.getTrainingJob({ name: NAME });
  await expect(call).rejects.toMatchObject({ name: "FlareError", code: Code.DeadlineExceeded });
});

test("errors tell what the status holds", async () => {
  const services = await startServices();
  services.training.getTrainingJob = () => {
    throw new ConnectError("no column 'agee'; did you mean 'age'?", Code.InvalidArgument, undefined, [
      {
        desc: ErrorInfoSchema,
        value: { reason: "COLUMN_NOT_FOUND", domain: "flare", metadata: { column: "agee" } },
      },
      {
        desc: BadRequestSchema,
        value: { fieldViolations: [{ field: "view.columns[0].column", description: "no such column" }] },
      },
      { desc: ResourceInfoSchema, value: { resourceName: "datasets/titanic" } },
      { desc: RetryInfoSchema, value: { retryDelay: { seconds: 1n, nanos: 500_000_000 } } },
    ]);
  };
  const client = await connectTo(services);
  const error: unknown = await client.training.getTrainingJob({ name: NAME }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FlareError);
  expect(error).toMatchObject({
    code: Code.InvalidArgument,
    reason: "COLUMN_NOT_FOUND",
    message: "no column 'agee'; did you mean 'age'?",
    metadata: { column: "agee" },
    violations: [{ field: "view.columns[0].column", description: "no such column" }],
    resource: "datasets/titanic",
    retryDelayMs: 1500,
  });
});

test("messages up to 16 MiB pass both ways", async () => {
  const services = await startServices();
  const mebibytes = (count: number) => "x".repeat(count * 1024 * 1024);
  services.training.getTrainingJob = () => ({ name: mebibytes(15) });
  services.predictions.predict = ({ name }) => ({ rowCount: BigInt(name.length) });
  const client = await connectTo(services);
  expect((await client.training.getTrainingJob({ name: NAME })).name).toHaveLength(15 * 1024 * 1024);
  expect((await client.predictions.predict({ name: mebibytes(15) })).rowCount).toBe(15n * 1024n * 1024n);
  const tooLarge = client.predictions.predict({ name: mebibytes(17) });
  await expect(tooLarge).rejects.toMatchObject({ code: Code.ResourceExhausted });
});

test("leaving a stream early ends it at the server", async () => {
  const services = await startServices();
  const hungUp = new Promise((resolve) => {
    services.training.watchTrainingJob = async function* (_, { signal }) {
      signal.addEventListener("abort", resolve, { once: true });
      yield {};
      await new Promise(() => undefined);
    };
  });
  const client = await connectTo(services);
  for await (const _ of client.training.watchTrainingJob({ name: NAME })) {
    break;
  }
  await hungUp;
});

test("a lost connection is opened again by the next call", async () => {
  const services = await startServices();
  const client = await connectTo(services);
  await client.training.getTrainingJob({ name: NAME });
  services.cut();
  await expect.poll(() => client.training.getTrainingJob({ name: NAME })).toMatchObject({ name: NAME });
});

test("the client for browsers logs in, calls and tells errors over gRPC-Web", async () => {
  const services = await FakeServices.start("grpc-web");
  opened.push(() => services.stop());
  services.training.getTrainingJob = ({ name }) => {
    if (name !== NAME) {
      throw failure(Code.NotFound, "NOT_FOUND", `no training job '${name}'`);
    }
    return { name };
  };
  const client = await connectWeb(gateway(services.address), login("ann", PASSWORD));
  services.expireTokens();
  expect((await client.training.getTrainingJob({ name: NAME })).name).toBe(NAME);
  const missing = client.training.getTrainingJob({ name: "trainingJobs/u" });
  await expect(missing).rejects.toMatchObject({ name: "FlareError", reason: "NOT_FOUND" });
});
