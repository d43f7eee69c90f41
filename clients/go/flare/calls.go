package flare

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	authv1 "flare.example/go/gen/flare/auth/v1"
)

// calls gives every call its token, every unary call a deadline, and every failure its type.
type calls struct {
	timeout time.Duration
	source  TokenSource

	mutex    sync.Mutex
	rejected string // the token that a service last called expired
}

func (c *calls) unary(
	ctx context.Context, method string, request, reply interface{}, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if _, given := ctx.Deadline(); !given {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	if isPublic(method) {
		return asError(invoke(ctx, method, request, reply, connection, options...))
	}
	token, err := c.token(ctx)
	if err != nil {
		return asError(err)
	}
	err = asError(invoke(withToken(ctx, token), method, request, reply, connection, options...))
	if !c.rejects(token, err) {
		return err
	}
	fresh, tokenErr := c.token(ctx)
	if tokenErr != nil {
		return asError(tokenErr)
	}
	return asError(invoke(withToken(ctx, fresh), method, request, reply, connection, options...))
}

func (c *calls) stream(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	token, err := c.token(ctx)
	if err != nil {
		return nil, asError(err)
	}
	stream, err := open(withToken(ctx, token), description, connection, method, options...)
	if err != nil {
		return nil, asError(err)
	}
	return &typedStream{ClientStream: stream, calls: c, token: token}, nil
}

// errNoNewerToken fails calls whose token has ended for good.
var errNoNewerToken = fromStatus(status.New(codes.Unauthenticated, "the access token has ended and its source gives no newer one"))

func (c *calls) token(ctx context.Context) (string, error) {
	c.mutex.Lock()
	rejected := c.rejected
	c.mutex.Unlock()
	token, err := c.source.Token(ctx, rejected)
	if err == nil && token == rejected {
		return "", errNoNewerToken
	}
	return token, err
}

// rejects says whether a call failed because its token has ended, and keeps that token from being used again.
func (c *calls) rejects(token string, err error) bool {
	if ReasonOf(err) != "TOKEN_EXPIRED" {
		return false
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.rejected = token
	return true
}

// typedStream is a stream whose failures are of type *Error.
type typedStream struct {
	grpc.ClientStream
	calls *calls
	token string
}

func (s *typedStream) RecvMsg(message interface{}) error {
	err := asError(s.ClientStream.RecvMsg(message))
	s.calls.rejects(s.token, err)
	return err
}

func (s *typedStream) SendMsg(message interface{}) error {
	return asError(s.ClientStream.SendMsg(message))
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// isPublic says whether the contract lets anyone call the method `/package.Service/Method` without a token.
func isPublic(method string) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	options, ok := found.Options().(*descriptorpb.MethodOptions)
	return ok && proto.GetExtension(options, authv1.E_Public).(bool)
}
