package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"path"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func unaryPeer(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	setHeader := func(header metadata.MD) error { return grpc.SendHeader(ctx, header) }
	setTrailer := func(trailer metadata.MD) { _ = grpc.SetTrailer(ctx, trailer) }
	err = peer(ctx, info.FullMethod, setHeader, setTrailer, func() error {
		response, err = handle(ctx, request)
		return err
	})
	return response, err
}

func streamPeer(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return peer(stream.Context(), info.FullMethod, stream.SendHeader, stream.SetTrailer, func() error {
		return handle(service, stream)
	})
}

// peer does what every call does, around the method.
func peer(ctx context.Context, fullMethod string, sendHeader func(metadata.MD) error,
	setTrailer func(metadata.MD), method func() error,
) error {
	sent, _ := metadata.FromIncomingContext(ctx)
	echoes := metadata.MD{}
	for key, values := range sent {
		if strings.HasPrefix(key, "echo-") {
			echoes[key] = values
		}
	}
	setTrailer(metadata.Join(echoes, metadata.Pairs("time-left", timeLeft(ctx))))
	if code, err := strconv.Atoi(asked(ctx, "fail-with")); err == nil {
		return failure(codes.Code(code), "as asked: déjà vu, 50 % ☂")
	}
	if err := sendHeader(echoes); err != nil {
		return err
	}
	err := method()
	if name := path.Base(fullMethod); ctx.Err() != nil && name != "Chat" {
		fmt.Println("cancelled", name)
	}
	return err
}

// asked returns the first value of a key of the call's metadata, or nothing.
func asked(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func timeLeft(ctx context.Context) string {
	if deadline, ok := ctx.Deadline(); ok {
		return fmt.Sprintf("%.3f", time.Until(deadline).Seconds())
	}
	return "none"
}

// failure returns an error with details.
func failure(code codes.Code, message string) error {
	rich, err := status.New(code, message).WithDetails(
		&errdetails.ErrorInfo{Reason: "PEER", Domain: "peer.example"},
		&errdetails.ResourceInfo{ResourceName: message},
	)
	if err != nil {
		log.Fatal(err)
	}
	return rich.Err()
}

func newID() string {
	return rand.Text()
}
