package flare

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	authv1 "flare.example/go/gen/flare/auth/v1"
	mlv1 "flare.example/go/gen/flare/ml/v1"
	scraperv1 "flare.example/go/gen/flare/scraper/v1"
)

// maxMessageBytes is the limit of every Flare server, for messages either way. Larger things are streams.
const maxMessageBytes = 16 << 20

// Client holds a stub of each service. It is safe for use by several goroutines. Failures are of type *Error.
type Client struct {
	Auth        authv1.AuthServiceClient
	Accounts    authv1.AccountServiceClient
	Scraper     scraperv1.ScraperServiceClient
	Models      mlv1.ModelServiceClient
	Training    mlv1.TrainingServiceClient
	Sweeps      mlv1.SweepServiceClient
	Predictions mlv1.PredictionServiceClient
	Evaluation  mlv1.EvaluationServiceClient
	Monitoring  mlv1.MonitoringServiceClient

	BatchPredictions mlv1.BatchPredictionServiceClient

	connections map[string]*grpc.ClientConn
	watching    watching
}

// Option changes how a client calls.
type Option func(*settings)

type settings struct {
	timeout  time.Duration
	tls      *tls.Config
	watching watching
}

// WithTimeout sets the deadline of unary calls whose context has none: 60 seconds unless set. Streams get none.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// WithTLS sets which certificates are trusted and shown; those of the system unless set.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) { s.tls = config }
}

// WithPatience sets for how long a watch tries to re-attach in vain before it gives up: 10 minutes unless set.
func WithPatience(patience time.Duration) Option {
	return func(s *settings) { s.watching.patience = patience }
}

// Connect makes a client and gets its first token, so that wrong credentials are told at once. Close it after use.
func Connect(ctx context.Context, addresses Addresses, credentials Credentials, options ...Option) (*Client, error) {
	set := settings{timeout: time.Minute, tls: &tls.Config{MinVersion: tls.VersionTLS12}, watching: defaultWatching}
	for _, option := range options {
		option(&set)
	}
	client := &Client{connections: map[string]*grpc.ClientConn{}, watching: set.watching}
	through := &calls{timeout: set.timeout}
	for _, address := range []string{addresses.Auth, addresses.Scraper, addresses.ML} {
		if err := client.dial(address, set.tls, through); err != nil {
			_ = client.Close()
			return nil, err
		}
	}
	auth, scraper, ml := client.connections[addresses.Auth], client.connections[addresses.Scraper], client.connections[addresses.ML]
	client.Auth, client.Accounts = authv1.NewAuthServiceClient(auth), authv1.NewAccountServiceClient(auth)
	client.Scraper = scraperv1.NewScraperServiceClient(scraper)
	client.Models, client.Training = mlv1.NewModelServiceClient(ml), mlv1.NewTrainingServiceClient(ml)
	client.Sweeps, client.Predictions = mlv1.NewSweepServiceClient(ml), mlv1.NewPredictionServiceClient(ml)
	client.Evaluation = mlv1.NewEvaluationServiceClient(ml)
	client.Monitoring = mlv1.NewMonitoringServiceClient(ml)
	client.BatchPredictions = mlv1.NewBatchPredictionServiceClient(ml)

	through.source = credentials(client.Auth)
	if _, err := through.token(ctx); err != nil {
		_ = client.Close()
		return nil, asError(err)
	}
	return client, nil
}

// Close ends the connections, and with them the calls and streams under way.
func (c *Client) Close() error {
	var first error
	for address, connection := range c.connections {
		if err := connection.Close(); err != nil && first == nil {
			first = fmt.Errorf("closing the connection to %s: %w", address, err)
		}
	}
	return first
}

// dial connects to an address, unless another service has it too.
func (c *Client) dial(address string, tlsConfig *tls.Config, through *calls) error {
	if c.connections[address] != nil {
		return nil
	}
	hostPort, security, err := target(address, tlsConfig)
	if err != nil {
		return err
	}
	connection, err := grpc.Dial(
		hostPort,
		security,
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes),
		),
		// Servers take no more than a ping in 10 seconds; 30 leaves room for proxies that take less.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		// grpc's own two minutes at most between attempts would outlast a server's restart by far.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
			},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(through.unary),
		grpc.WithChainStreamInterceptor(through.stream),
	)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", address, err)
	}
	c.connections[address] = connection
	return nil
}
