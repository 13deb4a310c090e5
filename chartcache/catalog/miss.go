package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// missEvery is how often a look-up that finds nothing may ask upstream whether it is there by now: once per HTTP
// repository, and once per chart of a registry. A release that waits for a version is tried again less often.
const missEvery = 30 * time.Second

// look lets find look something up. When it finds nothing, upstream may have it by now: it is asked, and find looks again.
func (c *Catalog) look(ctx context.Context, source Source, chart string, least Revision, find func(*view) error) error {
	err := c.lookOnce(ctx, source, least, func(v *view) error {
		err := find(v)
		if !isMiss(err) {
			return err
		}
		again, refreshErr := v.refresh(ctx, chart)
		switch {
		case refreshErr != nil && (ctx.Err() != nil || errors.Is(refreshErr, errStopped)):
			return refreshErr
		case refreshErr != nil && v.isOCI() && cacheerr.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND:
			// Whether the registry has the chart is not known at all.
			return refreshErr
		case refreshErr != nil || !again:
			return err
		}
		return errLookAgain
	})
	if errors.Is(err, errLookAgain) {
		return c.lookOnce(ctx, source, least, find)
	}
	return err
}

var errLookAgain = errors.New("the repository was read again")

func (c *Catalog) lookOnce(ctx context.Context, source Source, least Revision, find func(*view) error) error {
	v, err := c.view(ctx, source, least)
	if err != nil {
		return err
	}
	defer v.close()
	return find(v)
}

func isMiss(err error) bool {
	reason := cacheerr.ReasonOf(err)
	return reason == chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND || reason == chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND
}

// refresh asks upstream about a chart that was not found, or lacked a version; again says that it pays to look again.
func (v *view) refresh(ctx context.Context, chart string) (again bool, err error) {
	c, r := v.c, v.r
	c.mu.Lock()
	if r.served != v.generation {
		// Somebody else's look-up, or a sync, brought something new since the view was taken.
		c.mu.Unlock()
		return true, nil
	}
	now := c.cfg.Now()
	may := r.syncs() && r.place == v.place
	switch {
	case !may:
	case v.isOCI():
		may = now.Sub(r.asked[chart]) >= missEvery
	default:
		// One that fails has its back-off.
		may = now.Sub(r.missSync) >= missEvery && r.record.Outcome == chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED
		if may {
			r.missSync = now
		}
	}
	c.mu.Unlock()
	if !may {
		return false, nil
	}
	if v.isOCI() {
		return c.discover(ctx, v, chart)
	}
	return c.syncNow(ctx, r)
}

// discover asks a registry for one chart and adds it to what is served; from then on it is listed with each sync.
func (c *Catalog) discover(ctx context.Context, v *view, chart string) (found bool, err error) {
	r, spec, place := v.r, v.spec, v.place
	work, err := c.share(ctx, r.key("discover", place, chart), func(ctx context.Context, work *flight) error {
		if err := c.mayDownload(r); err != nil {
			return err // the registry asked for fewer requests
		}
		ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
		defer cancel()
		up, err := c.upstream(ctx, spec)
		if err != nil {
			return err
		}
		versions, err := up.Versions(ctx, chart)
		if err != nil {
			c.noteRefusal(r, err)
		}
		if err != nil && cacheerr.ReasonOf(err) != chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND {
			return explain(ctx, err)
		}
		if err == nil { // else it is not there, which is no failure
			err = c.edit(r, place, func(e *edit) error {
				var err error
				work.changed, err = e.addChart(chart, versions)
				return err
			})
			if err != nil {
				return err
			}
		}
		// Noted last: who comes before that joins this work, and who comes after it sees what it brought.
		c.noteAsked(r, chart)
		return nil
	})
	if errors.Is(err, index.ErrCorrupt) {
		return false, v.readFailed(err) // the other charts could not be kept
	}
	if err != nil {
		return false, r.unedited(err)
	}
	return work.changed, nil
}

// noteAsked notes that a registry answered about a chart.
func (c *Catalog) noteAsked(r *repository, chart string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	maps.DeleteFunc(r.asked, func(_ string, at time.Time) bool { return now.Sub(at) >= missEvery })
	if r.asked == nil {
		r.asked = map[string]time.Time{}
	}
	r.asked[chart] = now
}

// addChart replaces the generation by one with a chart that a registry was asked for.
func (e *edit) addChart(chart string, tags []string) (changed bool, err error) {
	if e.before == nil {
		return false, notSynced(e.r, "its index is being read again")
	}
	charts, err := e.before.Charts()
	if err != nil {
		return false, fmt.Errorf("list charts: %w", err)
	}
	versions := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool {
		_, err := semver.NewVersion(tag)
		return err != nil
	})
	if len(versions) == 0 {
		return false, nil
	}
	temp, err := e.c.store.build(func(b *index.Builder) error {
		b.Reject(int(e.before.Stats().Rejected))
		if _, known := slices.BinarySearch(charts, chart); !known {
			b.Reject(len(tags) - len(versions))
		}
		for _, name := range charts {
			if name == chart {
				continue
			}
			if err := b.Copy(e.before, name); err != nil {
				return fmt.Errorf("keep chart: %w", err)
			}
		}
		return b.AddTags(chart, versions, func(version string) index.Entry { return e.moved(chart, version) })
	})
	if err != nil {
		return false, err
	}
	if changed, err = e.replace(temp, false); err != nil {
		return false, err
	}
	if i, known := slices.BinarySearch(e.record.Known, chart); !known {
		e.record.Known = slices.Insert(slices.Clone(e.record.Known), i, chart)
		e.recordChanged = true
	}
	return changed, nil
}
