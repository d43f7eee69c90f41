#!/bin/sh
# Runs a go command on this module with Debian's packages instead of a module proxy:
#
#   apt-get install golang-go golang-google-grpc-dev golang-google-protobuf-dev
#   ./debian_build.sh test ./...
#   ./debian_build.sh build -o /tmp/train ./examples/train
#
# It works on a copy in a temporary GOPATH workspace, so a path after -o has to be absolute. The tag `debiangrpc` picks
# what Debian's older grpc needs (flare/transport_debian.go). -trimpath lets the build cache serve the next copy too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
workspace=$(mktemp -d)
trap 'rm -rf "$workspace"' EXIT
mkdir -p "$workspace/src/flare.example"
cp -R "$here" "$workspace/src/flare.example/go"
cd "$workspace/src/flare.example/go"
GO111MODULE=off GOPATH="$workspace:/usr/share/gocode" GOFLAGS="-tags=debiangrpc -trimpath" go "$@"
