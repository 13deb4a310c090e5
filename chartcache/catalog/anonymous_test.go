package catalog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestARepositoryByURLIsThereFromItsFirstUse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		digest := up.push(t, "web", "1.0.0", "")
		resolved := w.mustResolve(ByURL(httpURL+"/"), "web", "")
		assert.Equal(t, digest, resolved.Entry.Digest)
		w.mustFetch(ByURL(httpURL), resolved)
		s := w.state(ByURL("HTTPS://CHARTS.example.com"))
		assert.Equal(t, ByURL(httpURL), s.Source, "one repository, however it is spelled")
		assert.Equal(t, synced, s.State)
		assert.Equal(t, 1, up.count(&up.lists))
		assert.Empty(t, w.Repositories(""), "it is not a configured one")
	})
}

func TestARepositoryByURLGoesWhenItIsNotUsed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		source := ByURL(httpURL)
		_, err := w.Charts(context.Background(), source, ChartQuery{})
		require.NoError(t, err)
		pass(23 * time.Hour)
		_, err = w.Charts(context.Background(), source, ChartQuery{})
		require.NoError(t, err)
		pass(23 * time.Hour)
		assert.Equal(t, 1, w.anonymousCount())
		w.restart()
		assert.Equal(t, 1, w.anonymousCount(), "it is there after a restart")
		syncs := up.count(&up.lists)
		pass(2 * time.Hour)
		assert.Equal(t, 0, w.anonymousCount())
		assert.Empty(t, w.files(urlsFolder))
		_, removed, _ := w.metrics.all()
		assert.Equal(t, []Source{source}, removed)
		pass(24 * time.Hour)
		assert.LessOrEqual(t, up.count(&up.lists), syncs+4, "and it is not asked any more")
	})
}

func TestARepositoryByURLThatDoesNotAnswerTellsWhyAndIsForgottenSoon(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.fault = failure(upstreamNotFound, "there is nothing") })
		source := ByURL(httpURL)
		_, err := w.resolve(source, "web", "")
		assertReason(t, upstreamNotFound, err)
		_, err = w.resolve(source, "web", "")
		assertReason(t, upstreamNotFound, err)
		assert.Equal(t, firstBackoff, retryAfterOf(err))
		assert.Equal(t, 1, up.count(&up.lists), "asking again does not ask upstream again")
		pass(unservedIdle + idleLook)
		assert.Equal(t, 0, w.anonymousCount())
	})
}

func TestURLsThatCannotBeReadAnonymouslyAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		for _, url := range []string{
			"ftp://x", "charts.example.com", "https://", "https://user:pw@x", "https://x?token=1", "https://x#f", "://", "https://x/%zz", "oci:x",
		} {
			_, err := w.Repository(context.Background(), ByURL(url))
			assertReason(t, invalidArgumentReason, err)
			assert.NotContains(t, err.Error(), "pw")
		}
		for _, source := range []Source{{}, {Ref: &Ref{Namespace: "n", Name: "r"}, URL: httpURL}} {
			_, err := w.Repository(context.Background(), source)
			assertReason(t, invalidArgumentReason, err)
		}
	})
}

func TestOnlySoManyRepositoriesByURLAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		cfg := w.config()
		cfg.Limits.Sources = 2
		w.startWith(cfg)
		for i := range 3 {
			_, err := w.Repository(context.Background(), ByURL(fmt.Sprintf("https://charts%d.example.com", i)))
			if i < 2 {
				require.NoError(t, err)
				continue
			}
			assertReason(t, tooLarge, err)
			assert.ErrorContains(t, err, FlagSources)
		}
	})
}

func TestBlobsAreSharedButAccessIsNot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const thiefURL = "https://thief.example.com"
		w := newWorld(t)
		private, thief := w.internet.add(httpURL), w.internet.add(thiefURL)
		digest := private.push(t, "web", "1.0.0", "secret")
		source := w.put(Spec{URL: httpURL})
		w.mustFetch(source, w.mustResolve(source, "web", ""))

		// Another repository lists the digest, but does not have the tarball.
		thief.set(func() {
			thief.text = "apiVersion: v1\nentries:\n  web:\n  - {name: web, version: 1.0.0, urls: [x], digest: \"" + digest + "\"}\n"
		})
		resolved := w.mustResolve(ByURL(thiefURL), "web", "")
		assert.Equal(t, digest, resolved.Entry.Digest)
		_, _, err := w.Fetch(context.Background(), ByURL(thiefURL), resolved)
		assertReason(t, upstreamNotFound, err)

		// One that has it gives it out, and it is stored once.
		thief.push(t, "web", "1.0.0", "secret")
		w.mustFetch(ByURL(thiefURL), resolved)
		_, blobs := w.blobs.Usage()
		assert.Equal(t, 1, blobs)
	})
}
