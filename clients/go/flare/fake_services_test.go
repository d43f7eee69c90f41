package flare

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "flare.example/go/gen/flare/auth/v1"
	mlv1 "flare.example/go/gen/flare/ml/v1"
	scraperv1 "flare.example/go/gen/flare/scraper/v1"
)

const password = "correct horse battery"

// fakeServices is a real gRPC server that plays all three services, with faults at a test's wish.
type fakeServices struct {
	authv1.UnimplementedAuthServiceServer
	mlv1.UnimplementedTrainingServiceServer
	mlv1.UnimplementedSweepServiceServer
	mlv1.UnimplementedBatchPredictionServiceServer
	mlv1.UnimplementedPredictionServiceServer
	scraperv1.UnimplementedScraperServiceServer

	address   string
	listener  *cuttableListener
	tokenLife time.Duration
	received  chan struct{} // one for each event that a watching test has got

	mutex    sync.Mutex
	logins   int
	renewals int
	access   string // the one valid access token
	refresh  string // the one valid refresh token
	issued   int
	ends     time.Time // the access token's end
	early    int       // renewals before it

	getTrainingJob   func(ctx context.Context) (*mlv1.TrainingJob, error)
	watchTrainingJob func(after int64, stream mlv1.TrainingService_WatchTrainingJobServer) error
	watchSweep       func(after int64, stream mlv1.SweepService_WatchSweepServer) error
	watchBatch       func(after int64, stream mlv1.BatchPredictionService_WatchBatchPredictionServer) error
	watchImportJob   func(after int64, stream scraperv1.ScraperService_WatchImportJobServer) error
}

func startServices(t *testing.T) *fakeServices {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	services := &fakeServices{
		address:   listener.Addr().String(),
		listener:  &cuttableListener{Listener: listener},
		tokenLife: time.Hour,
		received:  make(chan struct{}, lastSequence),
	}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessageBytes), grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.UnaryInterceptor(func(
			ctx context.Context, request interface{}, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
		) (interface{}, error) {
			if !strings.HasPrefix(info.FullMethod, "/flare.auth.v1.AuthService/") {
				if err := services.authorize(ctx); err != nil {
					return nil, err
				}
			}
			return handler(ctx, request)
		}),
		grpc.StreamInterceptor(func(
			service interface{}, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
		) error {
			if err := services.authorize(stream.Context()); err != nil {
				return err
			}
			return handler(service, stream)
		}),
	)
	authv1.RegisterAuthServiceServer(server, services)
	mlv1.RegisterTrainingServiceServer(server, services)
	mlv1.RegisterSweepServiceServer(server, services)
	mlv1.RegisterBatchPredictionServiceServer(server, services)
	mlv1.RegisterPredictionServiceServer(server, services)
	scraperv1.RegisterScraperServiceServer(server, services)
	go func() { _ = server.Serve(services.listener) }()
	t.Cleanup(server.Stop)
	return services
}

// connect makes a client that re-attaches in test time.
func (f *fakeServices) connect(t *testing.T, credentials Credentials, options ...Option) *Client {
	t.Helper()
	client, err := Connect(context.Background(), Gateway(f.address), credentials, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	client.watching.firstBackoff = time.Millisecond
	client.watching.lastBackoff = 20 * time.Millisecond
	return client
}

func (f *fakeServices) login(t *testing.T, options ...Option) *Client {
	t.Helper()
	return f.connect(t, Login("ann", password), options...)
}

// expireTokens ends every access token issued so far.
func (f *fakeServices) expireTokens() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.access = ""
}

func (f *fakeServices) authorize(ctx context.Context) error {
	given, _ := metadata.FromIncomingContext(ctx)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if len(given["authorization"]) == 0 {
		return failure(codes.Unauthenticated, "TOKEN_MISSING", "no token")
	}
	if given["authorization"][0] != "Bearer "+f.access {
		return failure(codes.Unauthenticated, "TOKEN_EXPIRED", "the token has ended")
	}
	return nil
}

func (f *fakeServices) issue() *authv1.TokenPair {
	f.issued++
	f.access, f.refresh = fmt.Sprintf("access-%d", f.issued), fmt.Sprintf("refresh-%d", f.issued)
	f.ends = time.Now().Add(f.tokenLife)
	return &authv1.TokenPair{
		AccessToken: f.access, RefreshToken: f.refresh, AccessExpireTime: timestamppb.New(f.ends),
	}
}

func (f *fakeServices) Login(ctx context.Context, request *authv1.LoginRequest) (*authv1.TokenPair, error) {
	if given, _ := metadata.FromIncomingContext(ctx); len(given["authorization"]) > 0 {
		return nil, failure(codes.Internal, "INTERNAL", "a public method was called with a token")
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.logins++
	if request.Username != "ann" || request.Password != password {
		return nil, failure(codes.Unauthenticated, "CREDENTIALS_REJECTED", "no account 'ann' with this password")
	}
	return f.issue(), nil
}

func (f *fakeServices) RefreshTokens(
	_ context.Context, request *authv1.RefreshTokensRequest,
) (*authv1.TokenPair, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.renewals++
	if time.Now().Before(f.ends) {
		f.early++
	}
	if request.RefreshToken != f.refresh {
		return nil, failure(codes.Unauthenticated, "REFRESH_TOKEN_REJECTED", "log in again")
	}
	return f.issue(), nil
}

func (f *fakeServices) GetTrainingJob(
	ctx context.Context, _ *mlv1.GetTrainingJobRequest,
) (*mlv1.TrainingJob, error) {
	return f.getTrainingJob(ctx)
}

func (f *fakeServices) WatchTrainingJob(
	request *mlv1.WatchTrainingJobRequest, stream mlv1.TrainingService_WatchTrainingJobServer,
) error {
	return f.watchTrainingJob(request.AfterSequence, stream)
}

func (f *fakeServices) WatchBatchPrediction(
	request *mlv1.WatchBatchPredictionRequest, stream mlv1.BatchPredictionService_WatchBatchPredictionServer,
) error {
	return f.watchBatch(request.AfterSequence, stream)
}

func (f *fakeServices) WatchSweep(
	request *mlv1.WatchSweepRequest, stream mlv1.SweepService_WatchSweepServer,
) error {
	return f.watchSweep(request.AfterSequence, stream)
}

func (f *fakeServices) WatchImportJob(
	request *scraperv1.WatchImportJobRequest, stream scraperv1.ScraperService_WatchImportJobServer,
) error {
	return f.watchImportJob(request.AfterSequence, stream)
}

// failure is a status as Flare's services make them.
func failure(code codes.Code, reason, message string) error {
	made, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "flare"})
	if err != nil {
		panic(err)
	}
	return made.Err()
}

// cuttableListener can cut the connections that it took.
type cuttableListener struct {
	net.Listener
	mutex sync.Mutex
	taken []net.Conn
}

func (l *cuttableListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err == nil {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.taken = append(l.taken, connection)
	}
	return connection, err
}

func (l *cuttableListener) cut() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, connection := range l.taken {
		_ = connection.Close()
	}
	l.taken = nil
}

// retryInfo sets the delay by reflection, since the duration is of another Go type in Debian's genproto than in today's.
func retryInfo(delay time.Duration) *errdetails.RetryInfo {
	info := &errdetails.RetryInfo{}
	duration := reflect.New(reflect.TypeOf(info.RetryDelay).Elem())
	duration.Elem().FieldByName("Seconds").SetInt(int64(delay / time.Second))
	duration.Elem().FieldByName("Nanos").SetInt(int64(delay % time.Second))
	reflect.ValueOf(info).Elem().FieldByName("RetryDelay").Set(duration)
	return info
}
