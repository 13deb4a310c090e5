package client

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

type watchStream = grpc.ServerStreamingServer[chartcachev1.WatchRepositoriesResponse]

func changed(name, token string, charts ...string) *chartcachev1.WatchRepositoriesResponse {
	return &chartcachev1.WatchRepositoriesResponse{ResumeToken: token, Event: &chartcachev1.WatchRepositoriesResponse_Changed{
		Changed: &chartcachev1.RepositoryChanged{
			Repository:    &chartcachev1.Repository{Ref: &chartcachev1.RepositoryRef{Namespace: "apps", Name: name}},
			ChangedCharts: charts, AllChartsChanged: len(charts) == 0,
		},
	}}
}

func deleted(name, token string) *chartcachev1.WatchRepositoriesResponse {
	return &chartcachev1.WatchRepositoriesResponse{ResumeToken: token, Event: &chartcachev1.WatchRepositoriesResponse_Deleted{
		Deleted: &chartcachev1.RepositoryDeleted{Source: &chartcachev1.RepositoryDeleted_Repository{
			Repository: &chartcachev1.RepositoryRef{Namespace: "apps", Name: name},
		}},
	}}
}

func bookmark(complete bool, token string) *chartcachev1.WatchRepositoriesResponse {
	return &chartcachev1.WatchRepositoriesResponse{ResumeToken: token, Event: &chartcachev1.WatchRepositoriesResponse_Bookmark{
		Bookmark: &chartcachev1.Bookmark{InitialStateComplete: complete},
	}}
}

// script plays one stream after the other and then stays silent.
func script(tokens *[]string, streams ...[]*chartcachev1.WatchRepositoriesResponse) *fakeServer {
	n := 0
	return &fakeServer{watch: func(r *chartcachev1.WatchRepositoriesRequest, s watchStream) error {
		*tokens = append(*tokens, r.GetResumeToken())
		if n == len(streams) {
			<-s.Context().Done()
			return s.Context().Err()
		}
		messages := streams[n]
		n++
		for _, m := range messages {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		return status.Error(codes.Unavailable, "the server stops")
	}}
}

// collect watches until a number of events has come, and returns them in words.
func collect(t *testing.T, client *Client, count int) []string {
	t.Helper()
	ctx, cancel := context.WithCancelCause(testContext(t))
	enough := errors.New("enough")
	var events []string
	err := client.Watch(ctx, func(event Event) {
		word := ""
		switch e := event.(type) {
		case *Up:
			word = "up"
		case *Down:
			var known *Error
			assert.ErrorAs(t, e.Err, &known)
			word = "down"
		case *Synced:
			word = "synced"
		case *Deleted:
			word = "deleted " + e.Source.Name
		case *Changed:
			word = "changed " + e.Repository.Source.Name
			for _, chart := range e.Charts {
				word += " " + chart
			}
		}
		if events = append(events, word); len(events) == count {
			cancel(enough)
		}
	})
	require.ErrorIs(t, err, enough)
	return events
}

type messages = []*chartcachev1.WatchRepositoriesResponse

func TestWatchResumesBehindTheLastEvent(t *testing.T) {
	var tokens []string
	client := start(t, script(&tokens,
		messages{changed("one", ""), changed("two", ""), bookmark(true, "t1"), changed("one", "t2", "web")},
		messages{deleted("two", "t3")},
		messages{bookmark(false, "t4")},
		messages{changed("one", "t5", "web", "db")},
	))
	assert.Equal(t, []string{
		"up", "changed one", "changed two", "synced", "changed one web",
		"deleted two",
		"changed one web db",
	}, collect(t, client, 7), "a stream that begins again at once is no loss")
	assert.Equal(t, []string{"", "t2", "t3", "t4"}, tokens)
}

func TestWatchReportsWhatWentWhileAnotherInstanceTookOver(t *testing.T) {
	var tokens []string
	client := start(t, script(&tokens,
		messages{changed("one", ""), changed("two", ""), bookmark(true, "a1")},
		// Another instance: full state, without "one".
		messages{changed("two", ""), changed("three", ""), bookmark(true, "b1")},
	))
	assert.Equal(t, []string{
		"up", "changed one", "changed two", "synced",
		"changed two", "changed three", "deleted one", "synced",
	}, collect(t, client, 8))
}

func TestWatchStartsOverWhenItBrokeInsideTheInitialState(t *testing.T) {
	var tokens []string
	client := start(t, script(&tokens,
		messages{changed("one", "early"), changed("two", "early")},
		messages{changed("two", ""), bookmark(true, "t1")},
	))
	assert.Equal(t, []string{
		"up", "changed one", "changed two",
		"changed two", "deleted one", "synced",
	}, collect(t, client, 6))
	assert.Equal(t, []string{"", ""}, tokens[:2])
}

func TestWatchForgetsATokenThatIsRefused(t *testing.T) {
	var tokens []string
	fake := script(&tokens, messages{bookmark(true, "t1")}, messages{bookmark(true, "t2")})
	play := fake.watch
	fake.watch = func(r *chartcachev1.WatchRepositoriesRequest, s watchStream) error {
		if r.GetResumeToken() != "" {
			tokens = append(tokens, r.GetResumeToken())
			return answered(t, codes.InvalidArgument, "INVALID_ARGUMENT", "resume_token is malformed", 0)
		}
		return play(r, s)
	}
	client := start(t, fake)
	assert.Equal(t, []string{"up", "synced", "down", "up", "synced"}, collect(t, client, 5))
	assert.Equal(t, []string{"", "t1", ""}, tokens)
}

func TestWatchSaysOnceThatTheServerIsAway(t *testing.T) {
	streams := 0
	client := start(t, &fakeServer{watch: func(_ *chartcachev1.WatchRepositoriesRequest, s watchStream) error {
		if streams++; streams < 4 {
			return status.Error(codes.Unavailable, "no")
		}
		if err := s.Send(bookmark(true, "t")); err != nil {
			return err
		}
		<-s.Context().Done()
		return s.Context().Err()
	}})
	assert.Equal(t, []string{"down", "up", "synced"}, collect(t, client, 3))
}

func TestWatchSaysThatTheServerIsAwayWhenTheFirstTryToReconnectFailsToo(t *testing.T) {
	streams := 0
	client := start(t, &fakeServer{watch: func(_ *chartcachev1.WatchRepositoriesRequest, s watchStream) error {
		switch streams++; streams {
		case 1, 2: // an old connection ends, and the next one begins
		default:
			return status.Error(codes.Unavailable, "no")
		}
		if err := s.Send(bookmark(streams == 1, "t")); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "the connection is old")
	}})
	assert.Equal(t, []string{"up", "synced", "down"}, collect(t, client, 3))
	assert.Equal(t, 3, streams)
}

func TestARepositoryThatIsKnownByItsURLIsNotGoneBecauseAnotherInstanceLacksIt(t *testing.T) {
	byURL := &chartcachev1.WatchRepositoriesResponse{Event: &chartcachev1.WatchRepositoriesResponse_Changed{
		Changed: &chartcachev1.RepositoryChanged{Repository: &chartcachev1.Repository{Url: "https://charts.example.com"}},
	}}
	var tokens []string
	client := start(t, script(&tokens,
		messages{byURL, changed("one", ""), bookmark(true, "a1")},
		messages{changed("one", ""), bookmark(true, "b1")},
	))
	assert.Equal(t, []string{"up", "changed ", "changed one", "synced", "changed one", "synced"}, collect(t, client, 6))
}
