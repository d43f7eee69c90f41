import { getOption } from "@bufbuild/protobuf";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";

import type { TokenSource } from "./credentials.js";
import { FlareError } from "./errors.js";
import { public$ } from "./gen/flare/auth/v1/options_pb.js";

type UnaryCall = (request: unknown, options: CallOptions) => Promise<unknown>;
type StreamingCall = (request: unknown, options: CallOptions) => AsyncIterable<unknown>;

/** Gives every call its token, every unary call a deadline, and every failure its type. */
export class Calls {
  /** The token that a service last called expired. */
  private rejected = "";
  private source: TokenSource | undefined;

  constructor(private readonly timeoutMs: number) {}

  /** Takes tokens from a source from now on, and gets the first one. The source may itself call public methods. */
  async useTokensOf(source: TokenSource): Promise<void> {
    this.source = source;
    await this.token();
  }

  /** A client of a service whose calls go through this object. */
  client<Service extends DescService>(service: Service, transport: Transport): Client<Service> {
    const plain = createClient(service, transport) as Record<string, unknown>;
    const methods = service.methods.map((method) => [
      method.localName,
      this.wrapped(method, plain[method.localName] as UnaryCall & StreamingCall),
    ]);
    return Object.fromEntries(methods) as Client<Service>;
  }

  private wrapped(method: DescMethod, call: UnaryCall & StreamingCall): unknown {
    switch (method.methodKind) {
      case "unary":
        return (request: unknown, options?: CallOptions) => this.unary(method, call, request, options);
      case "client_streaming":
        return (requests: unknown, options?: CallOptions) => this.once(method, call, requests, options);
      default:
        return (request: unknown, options?: CallOptions) => this.stream(method, call, request, options);
    }
  }

  private async unary(method: DescMethod, call: UnaryCall, request: unknown, options?: CallOptions): Promise<unknown> {
    const deadline = Date.now() + (options?.timeoutMs ?? this.timeoutMs);
    const attempt = () => {
      // An exhausted deadline still makes a call, which fails as such; 0 would mean none.
      const timeoutMs = Math.max(deadline - Date.now(), 1);
      return this.once(method, call, request, { ...options, timeoutMs });
    };
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof FlareError && error.reason === "TOKEN_EXPIRED") {
        return attempt();
      }
      throw error;
    }
  }

  private async once(method: DescMethod, call: UnaryCall, request: unknown, options?: CallOptions): Promise<unknown> {
    const token = await this.tokenFor(method);
    try {
      return await call(request, withToken(token, options));
    } catch (error) {
      throw this.failure(error, token);
    }
  }

  private async *stream(
    method: DescMethod,
    call: StreamingCall,
    request: unknown,
    options?: CallOptions,
  ): AsyncGenerator<unknown> {
    const token = await this.tokenFor(method);
    const left = new AbortController();
    const signal = options?.signal ? AbortSignal.any([options.signal, left.signal]) : left.signal;
    try {
      yield* call(request, { ...withToken(token, options), signal });
    } catch (error) {
      throw this.failure(error, token);
    } finally {
      left.abort(); // a loop that is left early ends the stream: connect itself would keep it
    }
  }

  private async tokenFor(method: DescMethod): Promise<string> {
    return getOption(method, public$) ? "" : this.token();
  }

  private async token(): Promise<string> {
    let token: string | undefined;
    try {
      token = await this.source?.token(this.rejected);
    } catch (error) {
      throw FlareError.from(error);
    }
    if (token === undefined || token === this.rejected) {
      throw new FlareError(Code.Unauthenticated, "the access token has ended and its source gives no newer one");
    }
    return token;
  }

  private failure(thrown: unknown, token: string): FlareError {
    const error = FlareError.from(thrown);
    if (error.reason === "TOKEN_EXPIRED") {
      this.rejected = token;
    }
    return error;
  }
}

function withToken(token: string, options: CallOptions = {}): CallOptions {
  if (token === "") {
    return options;
  }
  const headers = new Headers(options.headers);
  headers.set("authorization", `Bearer ${token}`);
  return { ...options, headers };
}
