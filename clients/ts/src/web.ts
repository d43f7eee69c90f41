/**
 * Calls the Flare services from a browser, over gRPC-Web through a gateway that speaks it. Browsers can't stream requests:
 * UploadDataset, UploadModelWeights, ImportModelVersion and PredictStream need the client for Node.
 */
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { urlOf } from "./addresses.js";
import type { Addresses } from "./addresses.js";
import { FlareClient } from "./client.js";
import type { ClientOptions } from "./client.js";
import type { Credentials } from "./credentials.js";

export * from "./shared.js";

/** Makes a client and gets its first token, so that wrong credentials are told at once. */
export async function connectWeb(
  addresses: Addresses,
  credentials: Credentials,
  options: ClientOptions = {},
): Promise<FlareClient> {
  const transportTo = (address: string) => createGrpcWebTransport({ baseUrl: urlOf(address) });
  const transports = {
    auth: transportTo(addresses.auth),
    scraper: transportTo(addresses.scraper),
    ml: transportTo(addresses.ml),
  };
  return FlareClient.over(transports, credentials, options);
}
