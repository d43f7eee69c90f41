import type { Client } from "@connectrpc/connect";
import { timestampDate } from "@bufbuild/protobuf/wkt";

import { FlareError } from "./errors.js";
import type { AuthService } from "./gen/flare/auth/v1/auth_service_pb.js";
import type { TokenPair } from "./gen/flare/auth/v1/token_pb.js";

/** Gives calls their access token. */
export interface TokenSource {
  /**
   * Returns an access token. `rejected` is the token that a service last called expired, or empty: it is not worth
   * returning again. An error fails the call.
   */
  token(rejected: string): Promise<string>;
}

/** Says who calls. The auth service is there for those that get their tokens from it. */
export type Credentials = (auth: Client<typeof AuthService>) => TokenSource;

/**
 * Calls as an account of Flare's own auth service. Renews the access token before it ends, and logs in anew when the
 * refresh token has ended too.
 */
export function login(username: string, password: string): Credentials {
  return (auth) => new Session(auth, username, password);
}

/** Calls with a token that somebody else keeps. It is not renewed. */
export function token(accessToken: string): Credentials {
  return () => ({ token: () => Promise.resolve(accessToken) });
}

/** An access token is renewed so long before its end; a short-lived one at four fifths of its life. */
const LONGEST_MARGIN_MS = 60_000;

/** Follows a renewal that failed while the old token is still good. */
const RENEWAL_PAUSE_MS = 1_000;

const RENEWAL_TIMEOUT_MS = 30_000;

/** A login at the auth service. */
class Session implements TokenSource {
  private pair: TokenPair | undefined;
  private endsAt = 0;
  private renewAt = 0;
  /** The renewal under way, which all calls share: a refresh token works only once. */
  private renewal: Promise<string> | undefined;

  constructor(
    private readonly auth: Client<typeof AuthService>,
    private readonly username: string,
    private readonly password: string,
  ) {}

  /**
   * Returns the token at hand while it is good, and renews it in the background when its end is near. Without a good
   * one it waits for the renewal.
   */
  async token(rejected: string): Promise<string> {
    const now = Date.now();
    const good = this.pair !== undefined && this.pair.accessToken !== rejected && now < this.endsAt;
    if (this.renewal === undefined && (!good || now > this.renewAt)) {
      this.renewal = this.renew().finally(() => {
        this.renewal = undefined;
      });
      this.renewal.catch(() => {
        this.renewAt = Date.now() + RENEWAL_PAUSE_MS;
      });
    }
    return good && this.pair !== undefined ? this.pair.accessToken : this.renewal!;
  }

  private async renew(): Promise<string> {
    const pair = await this.newPair();
    const end = pair.accessExpireTime ? timestampDate(pair.accessExpireTime).getTime() : 0;
    this.pair = pair;
    this.endsAt = end;
    this.renewAt = end - Math.min((end - Date.now()) / 5, LONGEST_MARGIN_MS);
    return pair.accessToken;
  }

  private async newPair(): Promise<TokenPair> {
    const options = { timeoutMs: RENEWAL_TIMEOUT_MS };
    if (this.pair?.refreshToken) {
      try {
        return await this.auth.refreshTokens({ refreshToken: this.pair.refreshToken }, options);
      } catch (error) {
        if (!(error instanceof FlareError && error.reason === "REFRESH_TOKEN_REJECTED")) {
          throw error;
        }
      }
    }
    return this.auth.login({ username: this.username, password: this.password }, options);
  }
}
