/** Calls the Flare services from Node, over gRPC. */
import type { SecureClientSessionOptions } from "node:http2";

import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { urlOf } from "./addresses.js";
import type { Addresses } from "./addresses.js";
import { FlareClient } from "./client.js";
import type { ClientOptions } from "./client.js";
import type { Credentials } from "./credentials.js";

export * from "./shared.js";

/** The limit of every Flare server, for messages either way. Larger things are streams. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** Servers take no more than a ping in 10 seconds; 30 leaves room for proxies that take less. */
const PING_INTERVAL_MS = 30_000;

/** How a client in Node calls. */
export interface ConnectOptions extends ClientOptions {
  /** Which certificates are trusted (`ca`) and shown (`cert`, `key`); those of Node unless set. */
  readonly tls?: SecureClientSessionOptions;
}

/**
 * Makes a client and gets its first token, so that wrong credentials are told at once. Services with the same address
 * share a connection. Close the client after use.
 */
export async function connect(
  addresses: Addresses,
  credentials: Credentials,
  options: ConnectOptions = {},
): Promise<FlareClient> {
  const sessions = new Map<string, Http2SessionManager>();
  const transportTo = (address: string): Transport => {
    const baseUrl = urlOf(address);
    const ping = { pingIntervalMs: PING_INTERVAL_MS };
    const sessionManager = sessions.get(baseUrl) ?? new Http2SessionManager(baseUrl, ping, options.tls);
    sessions.set(baseUrl, sessionManager);
    return createGrpcTransport({
      baseUrl,
      sessionManager,
      readMaxBytes: MAX_MESSAGE_BYTES,
      writeMaxBytes: MAX_MESSAGE_BYTES,
    });
  };
  const transports = {
    auth: transportTo(addresses.auth),
    scraper: transportTo(addresses.scraper),
    ml: transportTo(addresses.ml),
  };
  return FlareClient.over(transports, credentials, options, () => {
    for (const session of sessions.values()) {
      session.abort();
    }
  });
}
