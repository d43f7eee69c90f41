package flare

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Addresses say where the services listen: `host:port` each. A loopback host is called in plain text and any other one
// with TLS; `http://host:port` and `https://host:port` spell it out.
type Addresses struct {
	Auth    string
	Scraper string
	ML      string
}

// LocalAddresses are those that `flare up` listens on unless told otherwise.
var LocalAddresses = Addresses{Auth: "127.0.0.1:50053", Scraper: "127.0.0.1:50052", ML: "127.0.0.1:50051"}

// Gateway is one address behind which all services are.
func Gateway(address string) Addresses {
	return Addresses{Auth: address, Scraper: address, ML: address}
}

// target splits an address into what grpc dials and how it is secured.
func target(address string, tlsConfig *tls.Config) (string, grpc.DialOption, error) {
	hostPort, secure, spelledOut := address, false, true
	switch {
	case strings.HasPrefix(address, "http://"):
		hostPort = strings.TrimPrefix(address, "http://")
	case strings.HasPrefix(address, "https://"):
		hostPort, secure = strings.TrimPrefix(address, "https://"), true
	default:
		spelledOut = false
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", nil, fmt.Errorf("address %q: want host:port: %w", address, err)
	}
	if !spelledOut {
		secure = !isLoopback(host)
	}
	if !secure {
		return hostPort, plainText(), nil
	}
	return hostPort, grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig)), nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
