/**
 * Where the services listen: `host:port` each. A loopback host is called in plain text and any other one with TLS;
 * `http://host:port` and `https://host:port` spell it out.
 */
export interface Addresses {
  readonly auth: string;
  readonly scraper: string;
  readonly ml: string;
}

/** The addresses that `flare up` listens on unless told otherwise. */
export const localAddresses: Addresses = {
  auth: "127.0.0.1:50053",
  scraper: "127.0.0.1:50052",
  ml: "127.0.0.1:50051",
};

/** One address behind which all services are. */
export function gateway(address: string): Addresses {
  return { auth: address, scraper: address, ml: address };
}

/** The URL that an address stands for. Throws a TypeError that names the address if it is none. */
export function urlOf(address: string): string {
  const text = address.includes("://") ? address : `plain://${address}`;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`address '${address}': want host:port`);
  }
  if (url.protocol === "http:" || url.protocol === "https:") {
    return address;
  }
  if (url.protocol !== "plain:" || url.hostname === "" || url.port === "") {
    throw new TypeError(`address '${address}': want host:port`);
  }
  return `${isLoopback(url.hostname) ? "http" : "https"}://${address}`;
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}
