package server

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func noStates(string) []catalog.State { return nil }

func TestWatchSendsEventsWithTheirTokens(t *testing.T) {
	f := start(t, &fakeCatalog{repositories: noStates, watch: func(token string) Subscription {
		assert.Empty(t, token)
		return &events{all: []catalog.Event{
			{Kind: catalog.EventChanged, State: fullState(), AllCharts: true},
			{Kind: catalog.EventBookmark, InitialStateComplete: true, Token: "t1"},
			{Kind: catalog.EventChanged, State: fullState(), Charts: []string{"db", "web"}, Token: "t2"},
			{Kind: catalog.EventDeleted, Source: catalog.ByRef("apps", "charts"), Token: "t3"},
			{Kind: catalog.EventDeleted, Source: catalog.ByURL("https://charts.example.com"), Token: "t4"},
			{Kind: catalog.EventBookmark, Token: "t5"},
		}}
	}})
	stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	header, err := stream.Header()
	require.NoError(t, err)
	assert.NotNil(t, header)
	for _, want := range []*chartcachev1.WatchRepositoriesResponse{
		{Event: &chartcachev1.WatchRepositoriesResponse_Changed{Changed: &chartcachev1.RepositoryChanged{Repository: fullRepository(), AllChartsChanged: true}}},
		{Event: &chartcachev1.WatchRepositoriesResponse_Bookmark{Bookmark: &chartcachev1.Bookmark{InitialStateComplete: true}}, ResumeToken: "t1"},
		{Event: &chartcachev1.WatchRepositoriesResponse_Changed{Changed: &chartcachev1.RepositoryChanged{Repository: fullRepository(), ChangedCharts: []string{"db", "web"}}}, ResumeToken: "t2"},
		{Event: &chartcachev1.WatchRepositoriesResponse_Deleted{Deleted: &chartcachev1.RepositoryDeleted{Source: &chartcachev1.RepositoryDeleted_Repository{Repository: named("apps", "charts")}}}, ResumeToken: "t3"},
		{Event: &chartcachev1.WatchRepositoriesResponse_Deleted{Deleted: &chartcachev1.RepositoryDeleted{Source: &chartcachev1.RepositoryDeleted_Url{Url: "https://charts.example.com"}}}, ResumeToken: "t4"},
		{Event: &chartcachev1.WatchRepositoriesResponse_Bookmark{Bookmark: &chartcachev1.Bookmark{}}, ResumeToken: "t5"},
	} {
		got, err := stream.Recv()
		require.NoError(t, err)
		equal(t, want, got)
	}
}

func TestAWatchWhoseCatalogEndedIsUnavailable(t *testing.T) {
	f := start(t, &fakeCatalog{repositories: noStates, watch: func(string) Subscription { return &events{end: fmt.Errorf("the catalog ended: %w", context.Canceled)} }})
	stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, codes.Unavailable, status.Code(err))
}

// toldWords is what a client of a watch gets to know, in words.
func toldWords(t *testing.T, f *fixture, token string, count int) []string {
	t.Helper()
	stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{ResumeToken: token})
	require.NoError(t, err)
	words := []string{}
	for range count {
		message, err := stream.Recv()
		require.NoError(t, err)
		word := "bookmark"
		switch {
		case message.GetChanged() != nil:
			word = message.GetChanged().GetRepository().GetRef().GetName() + message.GetChanged().GetRepository().GetUrl()
		case message.GetDeleted() != nil:
			word = "deleted " + message.GetDeleted().GetRepository().GetName()
		case message.GetBookmark().GetInitialStateComplete():
			word = "complete"
		}
		words = append(words, word+" "+message.GetResumeToken())
	}
	return words
}

func TestAStreamIsCompleteOnlyWhenItToldOfEveryRepository(t *testing.T) {
	state := func(name string) catalog.State { return catalog.State{Source: catalog.ByRef("apps", name)} }
	changed := func(name, token string) catalog.Event {
		return catalog.Event{Kind: catalog.EventChanged, State: state(name), Token: token}
	}
	byURL := catalog.Event{Kind: catalog.EventChanged, State: catalog.State{Source: catalog.ByURL("https://h"), URL: "https://h"}, Token: "u"}
	complete := func(token string) catalog.Event {
		return catalog.Event{Kind: catalog.EventBookmark, InitialStateComplete: true, Token: token}
	}
	tests := map[string]struct {
		token  string
		states []catalog.State
		events []catalog.Event
		want   []string
	}{
		"a new watch believes the catalog": {
			"", []catalog.State{state("one"), state("two")}, []catalog.Event{changed("one", "1"), complete("2")}, []string{"one 1", "complete 2"},
		},
		"a resumed watch has nothing to complete": {
			"t", []catalog.State{state("one"), state("two")}, []catalog.Event{changed("one", "1"), complete("2")}, []string{"one 1", "bookmark 2"},
		},
		"a watch that started over has": {
			"t", []catalog.State{state("one"), state("two")},
			[]catalog.Event{changed("one", "1"), byURL, changed("two", "2"), complete("3")}, []string{"one 1", "https://h u", "two 2", "complete 3"},
		},
		"a watch that started over without any repository has": {
			"t", nil, []catalog.Event{complete("1")}, []string{"complete 1"},
		},
		"a repository that came meanwhile is told first": {
			"t", []catalog.State{state("one"), state("new")},
			[]catalog.Event{changed("one", "1"), complete("2"), changed("one", "3"), changed("new", "4"), changed("new", "5")},
			[]string{"one 1", "bookmark 2", "one 3", "new 4", "complete 4", "new 5"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := start(t, &fakeCatalog{
				repositories: func(string) []catalog.State { return test.states },
				watch:        func(string) Subscription { return &events{all: test.events} },
			})
			assert.Equal(t, test.want, toldWords(t, f, test.token, len(test.want)))
		})
	}
}
