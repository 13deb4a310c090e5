package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/upstream"
)

func TestARepositorySyncsAtOnceAndThenOnSchedule(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		began := now()
		source := w.put(Spec{URL: httpURL, Interval: 10 * time.Minute, Generation: 3})

		s := w.state(source)
		assert.Equal(t, synced, s.State)
		assert.Equal(t, int64(3), s.ObservedGeneration)
		assert.Equal(t, began, s.Revision.ObservedAt)
		assert.Equal(t, began, s.LastSync)
		assert.Equal(t, began.Add(10*time.Minute), s.NextSync)
		assert.Equal(t, int64(1), s.Charts)
		assert.Nil(t, s.LastError)

		pass(10 * time.Minute)
		assert.Equal(t, 2, up.count(&up.lists))
		s = w.state(source)
		assert.Equal(t, began, s.LastSync, "nothing changed")
		assert.Equal(t, began.Add(10*time.Minute), s.LastCheck)
		assert.Equal(t, began.Add(10*time.Minute), s.Revision.ObservedAt)

		up.push(t, "web", "1.1.0", "")
		pass(10 * time.Minute)
		after := w.state(source)
		assert.NotEqual(t, s.Revision.Name, after.Revision.Name)
		assert.Equal(t, began.Add(20*time.Minute), after.LastSync)
		reports, _, _ := w.metrics.all()
		require.Len(t, reports, 3)
		assert.Equal(t, []bool{true, false, true}, []bool{reports[0].Changed, reports[1].Changed, reports[2].Changed})
	})
}

func TestAnUnchangedRepositoryIsNotReadAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		up.set(func() { up.etag = `"1"` })
		source := w.put(Spec{URL: httpURL})
		before := w.state(source)
		// What would be read now is garbage; it is not read.
		up.set(func() { up.text = "garbage" })
		pass(time.Minute)
		after := w.mustSync(source)
		assert.Equal(t, before.Revision.Name, after.Revision.Name)
		assert.Equal(t, now(), after.Revision.ObservedAt)
		w.restart()
		w.put(Spec{URL: httpURL})
		assert.Equal(t, synced, w.mustSync(source).State, "validators outlive a restart")
	})
}

func TestAnUnchangedSpecDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		source := w.put(Spec{URL: httpURL, Generation: 1})
		w.state(source)
		called := false
		w.put(Spec{URL: httpURL, Generation: 1, Credentials: func(context.Context) (upstream.Credentials, error) {
			called = true
			return upstream.Credentials{Username: "u"}, nil
		}})
		w.state(source)
		assert.Equal(t, 1, up.count(&up.lists))
		w.mustSync(source)
		assert.True(t, called, "but the next sync reads credentials the new way")
		assert.Equal(t, "u", w.internet.lastConfig().Credentials.Username)
	})
}

func TestEditsSyncAtOnce(t *testing.T) {
	for name, edit := range map[string]func(*Spec){
		"generation":  func(s *Spec) { s.Generation++ },
		"credentials": func(s *Spec) { s.CredentialsID = "other" },
		"interval":    func(s *Spec) { s.Interval = time.Hour },
		"timeout":     func(s *Spec) { s.Timeout = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(httpURL)
				spec := Spec{URL: httpURL, Generation: 1, CredentialsID: "one"}
				source := w.put(spec)
				w.state(source)
				edit(&spec)
				w.put(spec)
				s := w.state(source)
				assert.Equal(t, 2, up.count(&up.lists))
				assert.Equal(t, spec.Generation, s.ObservedGeneration)
			})
		})
	}
}

func TestAnEditGivesUpTheSyncForTheSpecBefore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.gate = make(chan struct{}) })
		source := w.put(Spec{URL: httpURL, Generation: 1})
		result := make(chan error, 1)
		go func() {
			_, _, err := w.Sync(context.Background(), source)
			result <- err
		}()
		w.settle()
		require.Equal(t, 1, up.count(&up.lists))

		up.set(func() { up.gate = nil })
		w.put(Spec{URL: httpURL, Generation: 2})
		require.NoError(t, <-result, "who waited for the sync before gets the one after")
		assert.Equal(t, int64(2), w.state(source).ObservedGeneration)
		assert.Equal(t, 2, up.count(&up.lists))
	})
}

func TestGenerationIsObservedWhenItsSyncEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		source := w.put(Spec{URL: httpURL, Generation: 1})
		w.state(source)
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		w.put(Spec{URL: httpURL, Generation: 2})
		s := w.state(source)
		assert.Equal(t, int64(1), s.ObservedGeneration, "the outcome is still that of the spec before")
		assert.True(t, s.Syncing)
		close(gate)
		s = w.state(source)
		assert.Equal(t, int64(2), s.ObservedGeneration)
		assert.False(t, s.Syncing)
	})
}

func TestManyCallersShareOneSync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		source := w.put(Spec{URL: httpURL})
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				s, changed, err := w.Sync(context.Background(), source)
				assert.NoError(t, err)
				assert.True(t, changed)
				assert.Equal(t, synced, s.State)
			})
		}
		w.settle()
		close(gate)
		callers.Wait()
		assert.Equal(t, 1, up.count(&up.lists))
	})
}

func TestASyncGoesOnWhenItsCallerGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		source := w.put(Spec{URL: httpURL})
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("the caller left")
		result := make(chan error, 1)
		go func() {
			_, _, err := w.Sync(ctx, source)
			result <- err
		}()
		w.settle()
		cancel(cause)
		assert.ErrorIs(t, <-result, cause)
		close(gate)
		assert.Equal(t, synced, w.state(source).State)
		assert.Equal(t, 1, up.count(&up.lists))
	})
}

func TestASyncIsBoundedByItsTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.gate = make(chan struct{}) })
		source := w.put(Spec{URL: httpURL, Timeout: 30 * time.Second})
		_, _, err := w.Sync(context.Background(), source)
		assertReason(t, unreachable, err)
		assert.Equal(t, failed, w.state(source).State)
	})
}

func TestOnlySoManyRepositoriesSyncAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		gate := make(chan struct{})
		var ups []*fakeRepository
		for i := range 10 {
			url := fmt.Sprintf("https://charts%d.example.com", i)
			up := w.internet.add(url)
			up.set(func() { up.gate = gate })
			ups = append(ups, up)
			w.put(Spec{Ref: Ref{Namespace: "default", Name: fmt.Sprint(i)}, URL: url})
		}
		w.settle()
		running := 0
		for _, up := range ups {
			running += up.count(&up.lists)
		}
		assert.Equal(t, DefaultSyncs, running)
		close(gate)
		w.settle()
		for _, s := range w.Repositories("") {
			assert.Equal(t, synced, s.State)
		}
	})
}

func TestAFailedSyncServesWhatWasThereAndSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		digest := up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL, Interval: time.Hour})
		before := w.state(source)
		pass(time.Minute)
		up.set(func() { up.fault = failure(unreachable, "the host refuses connections") })
		_, _, err := w.Sync(context.Background(), source)
		assertReason(t, unreachable, err)

		failedAt := now()
		s := w.state(source)
		assert.Equal(t, failed, s.State)
		assert.Equal(t, &SyncError{Reason: unreachable, Message: "the host refuses connections", Time: failedAt}, s.LastError)
		assert.Equal(t, failedAt, s.StaleSince)
		assert.Equal(t, before.Revision, s.Revision)
		assert.Equal(t, failedAt.Add(firstBackoff), s.NextSync)

		list, err := w.Charts(context.Background(), source, ChartQuery{})
		require.NoError(t, err)
		assert.True(t, list.Stale)
		assert.Len(t, list.Charts, 1)

		// The back-off doubles, up to the interval.
		pass(firstBackoff)
		assert.Equal(t, now().Add(2*firstBackoff), w.state(source).NextSync)
		assert.Equal(t, failedAt, w.state(source).StaleSince, "stale since the first failure")
		pass(10 * time.Hour)
		assert.LessOrEqual(t, w.state(source).NextSync.Sub(now()), time.Hour)

		up.set(func() { up.fault = nil })
		pass(time.Hour)
		s = w.state(source)
		assert.Equal(t, synced, s.State)
		assert.Nil(t, s.LastError)
		assert.Zero(t, s.StaleSince)
		assert.Equal(t, digest, w.mustResolve(source, "web", "").Entry.Digest)
	})
}

func TestBadIndexesAreRefusedAndTheOldOneStays(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		b.WriteString("apiVersion: v1\nentries:\n")
		for i := range n {
			fmt.Fprintf(&b, "  c%02d:\n  - {name: c, version: 1.0.0}\n", i)
		}
		return b.String()
	}
	cases := map[string]struct {
		before, after string
		refused       bool
	}{
		"garbage":                          {many(3), "<html>", true},
		"an index that lost most charts":   {many(20), many(9), true},
		"an empty index instead of many":   {many(10), many(0), true},
		"an index that lost half":          {many(20), many(10), false},
		"a small index that lost most":     {many(9), many(1), false},
		"other charts instead of the same": {many(12), strings.ReplaceAll(many(12), "  c", "  d"), true},
		"more charts":                      {many(10), many(30), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(httpURL)
				up.set(func() { up.text = c.before })
				source := w.put(Spec{URL: httpURL})
				before := w.state(source)
				require.Equal(t, synced, before.State)
				up.set(func() { up.text = c.after })
				_, changed, err := w.Sync(context.Background(), source)
				s := w.state(source)
				if !c.refused {
					require.NoError(t, err)
					assert.True(t, changed)
					assert.Equal(t, synced, s.State)
					return
				}
				assertReason(t, indexRejected, err)
				assert.Equal(t, failed, s.State)
				assert.Equal(t, indexRejected, s.LastError.Reason)
				assert.Equal(t, before.Revision, s.Revision)
				assert.Equal(t, before.Charts, s.Charts)
				assert.Empty(t, w.files(tempFolder))
			})
		})
	}
}

func TestRateLimitsAreHonouredForTheWholeHost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := w.internet.add(httpURL+"/a"), w.internet.add(httpURL+"/b")
		limited := failure(rateLimitedReason, "too many requests")
		limited.RetryAfter = time.Hour
		first.set(func() { first.fault = limited })
		a := w.put(Spec{Ref: Ref{Namespace: "n", Name: "a"}, URL: httpURL + "/a", Interval: time.Minute})
		assert.Equal(t, now().Add(time.Hour), w.state(a).NextSync)

		b := w.put(Spec{Ref: Ref{Namespace: "n", Name: "b"}, URL: httpURL + "/b"})
		assert.Equal(t, pending, w.state(b).State)
		assert.Zero(t, second.count(&second.lists), "the host asked for quiet")
		pass(10 * time.Minute)
		_, _, err := w.Sync(context.Background(), b)
		assertReason(t, rateLimitedReason, err)
		assert.Equal(t, 50*time.Minute, retryAfterOf(err))
		_, err = w.Charts(context.Background(), b, ChartQuery{})
		assertReason(t, rateLimitedReason, err)
		first.set(func() { first.fault = nil })
		pass(50 * time.Minute)
		assert.Equal(t, synced, w.state(a).State)
		assert.Equal(t, synced, w.state(b).State)
		assert.Equal(t, 2, first.count(&first.lists))
	})
}

func TestAnInvalidSpecFailsAtOnceAndDoesNotSync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL, Generation: 1})
		w.state(source)
		invalid := failure(configurationInvalid, "spec.type is wrong")
		w.put(Spec{URL: httpURL, Generation: 2, Invalid: invalid})
		s := w.state(source)
		assert.Equal(t, failed, s.State)
		assert.Equal(t, int64(2), s.ObservedGeneration)
		assert.Equal(t, "spec.type is wrong", s.LastError.Message)
		assert.Equal(t, configurationInvalid, s.LastError.Reason)
		assert.Zero(t, s.NextSync)
		assert.NotZero(t, s.StaleSince)
		_, _, err := w.Sync(context.Background(), source)
		assert.ErrorIs(t, err, invalid)
		assert.Equal(t, []string{"web"}, w.chartNames(source), "what was synced stays served")
		pass(24 * time.Hour)
		assert.Equal(t, 1, up.count(&up.lists))

		fresh := w.put(Spec{Ref: Ref{Namespace: "n", Name: "fresh"}, URL: "ftp://x", Invalid: invalid})
		_, err = w.Charts(context.Background(), fresh, ChartQuery{})
		assertReason(t, repositoryNotSynced, err)
		assert.ErrorContains(t, err, "spec.type is wrong")
	})
}

func TestCredentialsAreReadAtEachSyncAndTheirErrorIsTheOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		password, missing := "one", false
		source := w.put(Spec{URL: httpURL, Credentials: func(context.Context) (upstream.Credentials, error) {
			if missing {
				return upstream.Credentials{}, failure(credentialsMissing, "Secret default/login does not exist")
			}
			return upstream.Credentials{Username: "u", Password: password}, nil
		}})
		w.state(source)
		assert.Equal(t, "one", w.internet.lastConfig().Credentials.Password)
		password = "two"
		w.mustSync(source)
		assert.Equal(t, "two", w.internet.lastConfig().Credentials.Password)
		missing = true
		_, _, err := w.Sync(context.Background(), source)
		assertReason(t, credentialsMissing, err)
		assert.Equal(t, "Secret default/login does not exist", w.state(source).LastError.Message)
		assert.Equal(t, 2, up.count(&up.lists))
	})
}

func TestErrorsWithoutAReasonTellNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.fault = errors.New("https://user:hunter2@host failed") })
		source := w.put(Spec{URL: httpURL})
		assert.NotContains(t, w.state(source).LastError.Message, "hunter2")
	})
}

func TestDelaysAreJittered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.internet.add(httpURL)
		cfg := w.config()
		cfg.Rand = func() float64 { return 0 }
		w.startWith(cfg)
		source := w.put(Spec{URL: httpURL, Interval: 10 * time.Minute})
		assert.Equal(t, now().Add(9*time.Minute), w.state(source).NextSync)
	})
}

func TestAPanicOfOneSyncIsItsFailureAndNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		source := w.put(Spec{URL: httpURL, Credentials: func(context.Context) (upstream.Credentials, error) { panic("hunter2") }})
		state := w.state(source)
		assert.Equal(t, internalFault, state.LastError.Reason)
		assert.NotContains(t, state.LastError.Message, "hunter2")
	})
}
