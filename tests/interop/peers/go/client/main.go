// A grpc-go client that calls every method of our server, and prints what came of it.
// test_peer_clients.py checks it. Arguments: the address of our server, that of our server
// that tells, and a domain that no user has yet.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "interop/userservicev1"
)

const nobody = "00000000-0000-4000-8000-000000000000"

type document map[string]any

func connect(address string) (*grpc.ClientConn, pb.UserServiceClient) {
	connection := must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())))
	return connection, pb.NewUserServiceClient(connection)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func failure(err error) document {
	shown := document{"code": status.Code(err), "message": status.Convert(err).Message()}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			shown["reason"] = detail.Domain + "/" + detail.Reason
		case *errdetails.ResourceInfo:
			shown["resource"] = detail.ResourceName
		case *errdetails.BadRequest:
			var fields []string
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
			shown["fields"] = fields
		}
	}
	return shown
}

func plain(user *pb.User) document {
	seconds := func(time *timestamppb.Timestamp) []int64 { return []int64{time.Seconds, int64(time.Nanos)} }
	return document{
		"id": user.Id, "email": user.Email, "name": user.Name, "avatar": user.Avatar,
		"role": user.Role.String(), "created_at": seconds(user.CreatedAt), "updated_at": seconds(user.UpdatedAt),
	}
}

func unary(ctx context.Context, users pb.UserServiceClient, domain string) document {
	create := &pb.CreateUserRequest{
		Email: "Ann@" + domain, Name: "Änn ☂", Password: "correct horse", Role: pb.Role_ROLE_ADMIN,
	}
	created := must(users.CreateUser(ctx, create))
	got := must(users.GetUser(ctx, &pb.GetUserRequest{Id: created.Id}))
	updated := must(users.UpdateUser(ctx, &pb.UpdateUserRequest{
		Id: created.Id, Name: "not masked", Avatar: "http://new",
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"avatar"}},
	}))
	_, taken := users.CreateUser(ctx, create)
	deleted := must(users.DeleteUser(ctx, &pb.DeleteUserRequest{Id: created.Id}))
	_, missing := users.GetUser(ctx, &pb.GetUserRequest{Id: created.Id})
	_, invalid := users.CreateUser(ctx, &pb.CreateUserRequest{Email: "no email", Role: 9})
	return document{
		"created": plain(created),
		"got":     plain(got),
		"updated": plain(updated),
		"deleted": deleted,
		"taken":   failure(taken),
		"missing": failure(missing),
		"invalid": failure(invalid),
	}
}

func list(ctx context.Context, users pb.UserServiceClient, domain string) (pages [][]any) {
	for number := range 5 {
		n := strconv.Itoa(number + 1)
		must(users.CreateUser(ctx, &pb.CreateUserRequest{Email: "user" + n + "@list." + domain, Name: "User " + n}))
	}
	request := &pb.ListUsersRequest{PageSize: 2, Filter: `email:"@list.` + domain + `"`, OrderBy: "name desc"}
	for {
		response := must(users.ListUsers(ctx, request))
		page := []any{response.TotalCount}
		for _, user := range response.Users {
			page = append(page, user.Name)
		}
		pages = append(pages, page)
		request.PageToken = response.NextPageToken
		if request.PageToken == "" {
			return pages
		}
	}
}

// rest reads a stream to its end, and returns the messages and the code.
func rest[M any](stream interface{ Recv() (*M, error) }) (messages []*M, code codes.Code) {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return messages, codes.OK
		}
		if err != nil {
			return messages, status.Code(err)
		}
		messages = append(messages, message)
	}
}

func watch(ctx context.Context, users pb.UserServiceClient, domain string) document {
	user := must(users.CreateUser(ctx, &pb.CreateUserRequest{Email: "watched@" + domain, Name: "Ann"}))
	stream := must(users.WatchUser(ctx, &pb.WatchUserRequest{Id: user.Id}))
	events := []*pb.UserEvent{must(stream.Recv())}
	must(users.UpdateUser(ctx, &pb.UpdateUserRequest{Id: user.Id, Name: "Anna"}))
	events = append(events, must(stream.Recv()))
	must(users.DeleteUser(ctx, &pb.DeleteUserRequest{Id: user.Id}))
	last, code := rest(stream)
	var shown [][]string
	for _, event := range append(events, last...) {
		shown = append(shown, []string{event.Type.String(), event.User.Name})
	}
	_, missing := rest(must(users.WatchUser(ctx, &pb.WatchUserRequest{Id: nobody})))
	return document{"events": shown, "code": code, "nobody": missing}
}

func batch(ctx context.Context, users pb.UserServiceClient, domain string) document {
	stream := must(users.BatchCreateUsers(ctx))
	for number := range 1000 {
		at := "@"
		if number%100 == 0 {
			at = " at "
		}
		request := &pb.CreateUserRequest{Email: "user" + strconv.Itoa(number) + at + domain, Name: "Ann"}
		check(stream.Send(request))
	}
	response := must(stream.CloseAndRecv())
	return document{"created_count": response.CreatedCount, "failed_emails": response.FailedEmails}
}

func chat(ctx context.Context, users pb.UserServiceClient, _ string) document {
	ann, ben := must(users.Chat(ctx)), must(users.Chat(ctx))
	must(ann.Header())
	must(ben.Header())
	say := func(stream pb.UserService_ChatClient, sender, text string) {
		check(stream.Send(&pb.ChatMessage{SenderId: sender, Text: text}))
	}
	say(ann, "ann", "Hello")
	heard := []*pb.ChatMessage{must(ann.Recv()), must(ben.Recv())}
	check(ann.CloseSend())
	left, annsCode := rest(ann)
	say(ben, "ben", "Still here")
	heard = append(heard, must(ben.Recv()))
	check(ben.CloseSend())
	more, bensCode := rest(ben)
	var shown [][]string
	for _, message := range heard {
		shown = append(shown, []string{message.SenderId, message.Text})
	}
	return document{"heard": shown, "left": len(left) + len(more), "codes": []codes.Code{annsCode, bensCode}}
}

func endings(ctx context.Context, connection *grpc.ClientConn, telling pb.UserServiceClient, domain string) document {
	user := must(telling.CreateUser(ctx, &pb.CreateUserRequest{Email: "ann@" + domain, Name: "Ann"}))
	soon, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	late := must(telling.WatchUser(soon, &pb.WatchUserRequest{Id: user.Id}))
	must(late.Recv())
	_, deadline := rest(late)
	leaving, leave := context.WithCancel(ctx)
	stream := must(telling.WatchUser(leaving, &pb.WatchUserRequest{Id: user.Id}))
	must(stream.Recv())
	leave()
	_, cancelled := rest(stream)
	unimplemented := connection.Invoke(ctx, "/userservice.v1.UserService/RenameUser", &emptypb.Empty{}, &emptypb.Empty{})
	return document{
		"id": user.Id, "deadline": deadline, "cancelled": cancelled,
		"unimplemented": status.Code(unimplemented),
	}
}

func bothWays(ctx context.Context, telling pb.UserServiceClient, domain string) document {
	user := must(telling.CreateUser(ctx, &pb.CreateUserRequest{Email: "meta@" + domain, Name: "Ann"}))
	sent := metadata.AppendToOutgoingContext(ctx,
		"echo-text", "one", "echo-text", "two", "echo-bin", string([]byte{0, 255, 44, 32, 10}))
	var initial, trailing metadata.MD
	must(telling.GetUser(sent, &pb.GetUserRequest{Id: user.Id}, grpc.Header(&initial), grpc.Trailer(&trailing)))
	echoed := func(back metadata.MD) document {
		var bytes [][]int
		for _, value := range back.Get("echo-bin") {
			var numbers []int
			for _, number := range []byte(value) {
				numbers = append(numbers, int(number))
			}
			bytes = append(bytes, numbers)
		}
		return document{"text": back.Get("echo-text"), "bytes": bytes}
	}
	left := must(strconv.ParseFloat(trailing.Get("time-left")[0], 64))
	return document{"initial": echoed(initial), "trailing": echoed(trailing), "time_left": left}
}

func main() {
	address, tellingAddress, domain := os.Args[1], os.Args[2], os.Args[3]
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, users := connect(address)
	connection, telling := connect(tellingAddress)
	found := document{
		"unary":    unary(ctx, users, domain),
		"list":     list(ctx, users, domain),
		"watch":    watch(ctx, users, domain),
		"batch":    batch(ctx, users, domain),
		"chat":     chat(ctx, users, domain),
		"endings":  endings(ctx, connection, telling, domain),
		"metadata": bothWays(ctx, telling, domain),
	}
	fmt.Println(string(must(json.Marshal(found))))
}
