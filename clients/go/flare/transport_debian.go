//go:build debiangrpc

package flare

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
)

func plainText() grpc.DialOption {
	return grpc.WithInsecure()
}

// protoCodec lets Debian's grpc carry messages of today's protobuf: its own codec knows only those of the API before
// google.golang.org/protobuf and panics at the first reply.
type protoCodec struct{}

func init() {
	encoding.RegisterCodec(protoCodec{})
}

func (protoCodec) Name() string {
	return "proto"
}

func (protoCodec) Marshal(value interface{}) ([]byte, error) {
	message, ok := value.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a message of google.golang.org/protobuf", value)
	}
	return proto.Marshal(message)
}

func (protoCodec) Unmarshal(data []byte, value interface{}) error {
	message, ok := value.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a message of google.golang.org/protobuf", value)
	}
	return proto.Unmarshal(data, message)
}
