// A grpc-go server of the baseline contract, with its users in memory.
// peers/README.md says what it does.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "interop/userservicev1"
)

// service keeps everything under one lock; everyone who listens has a channel.
type service struct {
	pb.UnimplementedUserServiceServer
	mu       sync.Mutex
	users    map[string]*pb.User
	watchers map[string]map[chan *pb.UserEvent]bool
	room     map[chan *pb.ChatMessage]bool
}

func (s *service) GetUser(ctx context.Context, request *pb.GetUserRequest) (*pb.User, error) {
	if asked(ctx, "hang") != "" {
		fmt.Println("hanging")
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(request.Id)
}

func (s *service) CreateUser(_ context.Context, request *pb.CreateUserRequest) (*pb.User, error) {
	if request.Email == "" {
		return nil, failure(codes.InvalidArgument, "email is required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store(request), nil
}

func (s *service) UpdateUser(_ context.Context, request *pb.UpdateUserRequest) (*pb.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, err := s.find(request.Id)
	if err != nil {
		return nil, err
	}
	updated := proto.CloneOf(user)
	for _, path := range request.UpdateMask.GetPaths() {
		switch path {
		case "name":
			updated.Name = request.Name
		case "avatar":
			updated.Avatar = request.Avatar
		}
	}
	updated.UpdatedAt = timestamppb.Now()
	s.users[user.Id] = updated
	s.publish(updated, pb.UserEvent_EVENT_TYPE_UPDATED)
	return updated, nil
}

func (s *service) DeleteUser(_ context.Context, request *pb.DeleteUserRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, err := s.find(request.Id)
	if err != nil {
		return nil, err
	}
	delete(s.users, user.Id)
	s.publish(user, pb.UserEvent_EVENT_TYPE_DELETED)
	return &emptypb.Empty{}, nil
}

func (s *service) ListUsers(_ context.Context, request *pb.ListUsersRequest) (*pb.ListUsersResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*pb.User
	for _, user := range s.users {
		if strings.HasSuffix(user.Email, request.Filter) {
			found = append(found, user)
		}
	}
	slices.SortFunc(found, func(one, other *pb.User) int { return cmp.Compare(one.Email, other.Email) })
	start, _ := strconv.Atoi(request.PageToken)
	end := min(start+int(request.PageSize), len(found))
	response := &pb.ListUsersResponse{Users: found[start:end], TotalCount: int32(len(found))}
	if end < len(found) {
		response.NextPageToken = strconv.Itoa(end)
	}
	return response, nil
}

func (s *service) WatchUser(request *pb.WatchUserRequest, stream pb.UserService_WatchUserServer) error {
	s.mu.Lock()
	user, err := s.find(request.Id)
	events := make(chan *pb.UserEvent, 1000)
	if err == nil {
		s.watchers[user.Id][events] = true
		events <- &pb.UserEvent{Type: pb.UserEvent_EVENT_TYPE_UPDATED, User: user}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		select {
		case event := <-events:
			if err := stream.Send(event); err != nil {
				return err
			}
			if event.Type == pb.UserEvent_EVENT_TYPE_DELETED {
				return nil
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *service) BatchCreateUsers(stream pb.UserService_BatchCreateUsersServer) error {
	response := &pb.BatchCreateUsersResponse{}
	if asked(stream.Context(), "answer-early") != "" {
		return stream.SendAndClose(response)
	}
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(response)
		}
		if err != nil {
			return err
		}
		if strings.Contains(request.Email, "@") {
			s.mu.Lock()
			s.store(request)
			s.mu.Unlock()
			response.CreatedCount++
		} else {
			response.FailedEmails = append(response.FailedEmails, request.Email)
		}
	}
}

func (s *service) Chat(stream pb.UserService_ChatServer) error {
	if asked(stream.Context(), "answer-early") != "" {
		return nil
	}
	heard := make(chan *pb.ChatMessage, 1000)
	s.mu.Lock()
	s.room[heard] = true
	s.mu.Unlock()
	go s.listen(stream, heard)
	for message := range heard {
		if err := stream.Send(message); err != nil {
			break
		}
	}
	fmt.Println("ended Chat")
	return stream.Context().Err()
}

// listen tells the room what one client says, until it has no more to say.
func (s *service) listen(stream pb.UserService_ChatServer, own chan *pb.ChatMessage) {
	for {
		message, err := stream.Recv()
		s.mu.Lock()
		if err != nil {
			delete(s.room, own)
			close(own)
			s.mu.Unlock()
			return
		}
		message.Timestamp = timestamppb.Now()
		for heard := range s.room {
			heard <- message
		}
		s.mu.Unlock()
	}
}

func (s *service) find(id string) (*pb.User, error) {
	if user, ok := s.users[id]; ok {
		return user, nil
	}
	return nil, failure(codes.NotFound, "there is no user "+id)
}

func (s *service) store(request *pb.CreateUserRequest) *pb.User {
	now := timestamppb.Now()
	user := &pb.User{
		Id: newID(), Email: request.Email, Name: request.Name, Role: request.Role,
		CreatedAt: now, UpdatedAt: now,
	}
	s.users[user.Id] = user
	s.watchers[user.Id] = map[chan *pb.UserEvent]bool{}
	return user
}

func (s *service) publish(user *pb.User, kind pb.UserEvent_EventType) {
	for events := range s.watchers[user.Id] {
		events <- &pb.UserEvent{Type: kind, User: user, Timestamp: timestamppb.Now()}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(unaryPeer), grpc.StreamInterceptor(streamPeer))
	pb.RegisterUserServiceServer(server, &service{
		users:    map[string]*pb.User{},
		watchers: map[string]map[chan *pb.UserEvent]bool{},
		room:     map[chan *pb.ChatMessage]bool{},
	})
	fmt.Println("ready on", listener.Addr())
	log.Fatal(server.Serve(listener))
}
