package catalog

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// guardedCharts is how many charts make an index so large that losing more than half of them is more often a broken
// publication than a decision.
const guardedCharts = 10

// edit is a change of what a repository serves or knows. It is made while the repository's disk lock is held, written, and
// only then seen by readers, so that a crash at any moment leaves the state before it or the one after.
type edit struct {
	c *Catalog
	r *repository
	// folder of the repository.
	folder string
	// before is what is served; nil when nothing is. It stays open while the edit runs.
	before *index.Reader
	// record and knowledge are to be changed: record in place, knowledge by its clone.
	record    record
	knowledge knowledge
	// recordChanged and knowledgeChanged say what must be written.
	recordChanged, knowledgeChanged bool
	// after replaces before; nil when it stays.
	after *index.Reader
	// charts differ between before and after.
	charts []string
	// settle changes what is kept in memory only; it runs while Catalog.mu is held. It returns whether watches must hear of
	// the edit even though no chart changed.
	settle func() (news bool)
}

// edit lets change prepare an edit, and makes it count. place is the count of URL changes that the edit belongs to; another
// one is errSuperseded. A repository that is gone is errGone. An error leaves everything as it was.
func (c *Catalog) edit(r *repository, place int, change func(*edit) error) error {
	r.disk.Lock()
	defer r.disk.Unlock()

	c.mu.Lock()
	if err := r.current(place); err != nil {
		c.mu.Unlock()
		return err
	}
	e := &edit{c: c, r: r, folder: r.folder, record: r.record, knowledge: r.knowledge}
	if g := r.served; g != nil {
		g.users++
		e.before = g.reader
		defer c.release(g)
	}
	c.mu.Unlock()

	old := e.record.Index
	err := change(e)
	if err == nil {
		err = e.write()
	}
	if err == nil {
		err = e.publish()
	}
	if err != nil {
		e.undo(old)
		return err
	}
	// Whatever is left after a crash here is swept at the next start.
	if old != "" && old != e.record.Index {
		_ = os.Remove(filepath.Join(e.folder, old))
	}
	return nil
}

// current says whether work that began at a place still counts. The caller holds Catalog.mu.
func (r *repository) current(place int) error {
	if r.gone {
		return errGone
	}
	if r.place != place {
		return errSuperseded
	}
	return nil
}

// hold keeps what a repository serves open until it is released; nil when it serves nothing.
func (c *Catalog) hold(r *repository) *generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.served != nil {
		r.served.users++
	}
	return r.served
}

// release gives up a generation that was held; nil is none.
func (c *Catalog) release(g *generation) {
	if g == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g.release()
}

// replace makes the generation in a temporary file the one that is served, unless it holds the same as the one that is.
// guard refuses one that lost most of its charts. The file is gone afterwards.
func (e *edit) replace(temp string, guard bool) (changed bool, err error) {
	defer func() { _ = os.Remove(temp) }()
	reader, err := index.Open(temp)
	if err != nil {
		return false, fmt.Errorf("read back an index: %w", err)
	}
	if e.before != nil && e.before.Revision() == reader.Revision() && e.before.Stats() == reader.Stats() {
		return false, reader.Close()
	}
	if guard {
		err = lostMost(e.before, reader)
	}
	if err == nil {
		e.record.Index, err = e.c.store.adopt(e.folder, temp)
	}
	if err != nil {
		_ = reader.Close()
		return false, err
	}
	e.after, e.recordChanged = reader, true
	if e.charts, err = index.Diff(e.before, reader); err != nil {
		return false, fmt.Errorf("compare with what was served: %w", err)
	}
	return e.before == nil || e.before.Revision() != reader.Revision(), nil
}

// forget drops what was learned about charts that are not listed any more.
func (e *edit) forget() error {
	charts, err := e.after.Charts()
	if err != nil {
		return fmt.Errorf("list charts: %w", err)
	}
	gone := func(chart string) bool { _, listed := slices.BinarySearch(charts, chart); return !listed }
	if slices.ContainsFunc(slices.Collect(maps.Keys(e.knowledge.Versions)), gone) {
		e.knowledge = e.knowledge.clone()
		maps.DeleteFunc(e.knowledge.Versions, func(chart string, _ map[string]learned) bool { return gone(chart) })
		e.knowledgeChanged = true
	}
	return nil
}

// lostMost refuses an index that lost more than half of many charts.
func lostMost(before, after *index.Reader) error {
	if before == nil {
		return nil
	}
	charts, err := before.Charts()
	if err != nil {
		return fmt.Errorf("list charts: %w", err)
	}
	left, err := after.Charts()
	if err != nil {
		return fmt.Errorf("list charts: %w", err)
	}
	lost := 0
	for _, chart := range charts {
		if _, listed := slices.BinarySearch(left, chart); !listed {
			lost++
		}
	}
	if len(charts) < guardedCharts || 2*lost <= len(charts) {
		return nil
	}
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED,
		"upstream lost %d of %d charts since the last sync, which is taken for a mistake; what was there before stays served. "+
			"If it is right, delete the repository here and create it again", lost, len(charts))
}

func (e *edit) write() error {
	if e.knowledgeChanged {
		if err := e.c.store.writeJSON(e.folder, learnedFile, e.knowledge); err != nil {
			return internal(err)
		}
	}
	if e.recordChanged {
		if err := e.c.store.writeJSON(e.folder, stateFile, e.record); err != nil {
			return internal(err)
		}
	}
	return nil
}

// publish shows the edit to readers.
func (e *edit) publish() error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if e.r.gone {
		return errGone
	}
	e.r.record, e.r.knowledge = e.record, e.knowledge
	if e.after != nil {
		e.r.served.retire()
		e.r.served = &generation{reader: e.after}
	}
	news := e.settle != nil && e.settle()
	if news || len(e.charts) > 0 {
		e.c.events.publish(e.r.source, e.charts, false)
	}
	e.c.poke()
	return nil
}

// undo closes and removes a new generation; old is the one that counts on disk, or did.
func (e *edit) undo(old string) {
	if e.after == nil {
		return
	}
	_ = e.after.Close()
	if e.record.Index != old {
		_ = os.Remove(filepath.Join(e.folder, e.record.Index))
	}
}

func internal(err error) error {
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, err, "chartcache cannot write to its disk")
}
