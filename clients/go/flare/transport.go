//go:build !debiangrpc

package flare

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func plainText() grpc.DialOption {
	return grpc.WithTransportCredentials(insecure.NewCredentials())
}
