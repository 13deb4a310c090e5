package catalog

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// guardedCharts is how many charts make an index so large that losing more than half of them is more often a broken
// publication than a decision.
const guardedCharts = 10

// guardedVersions is the same for versions and nine tenths of them.
const guardedVersions = 100

// edit is a change of what a repository serves or knows. It is made while the repository's disk lock is held, written, and
// only then seen by readers, so that a crash at any moment leaves the state before it or the one after.
type edit struct {
	c *Catalog
	r *repository
	// folder of the repository.
	folder string
	// before is what is served; nil when nothing is. It stays open while the edit runs.
	before *index.Reader
	// record is to be changed in place; recordChanged says that it must be written.
	record        record
	recordChanged bool
	// knowledge is what was learned so far, and learned what is to be added to it.
	knowledge *knowledge
	learned   []fact
	// after replaces before; nil when it stays.
	after *index.Reader
	// charts differ between before and after; all says that any may.
	charts []string
	all    bool
	// unsynced says that the record is written, but may be the one before after a crash of the machine.
	unsynced bool
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
	if err != nil {
		e.undo(old)
		return err
	}
	if err := e.publish(); err != nil {
		return err
	}
	// Whatever is left after a crash here is swept at the next start. While it is not certain which record a crash leaves,
	// both generations stay.
	if old != e.record.Index && !e.unsynced {
		c.store.sweep(e.folder, e.record.Index)
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
// guard refuses one that lost most of its charts. The file is closed afterwards.
func (e *edit) replace(temp *disk.File, guard bool) (changed bool, err error) {
	defer temp.Close()
	reader, err := index.Open(e.c.store.path(temp.Name()))
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
		e.charts, err = index.Diff(e.before, reader)
	}
	if errors.Is(err, index.ErrCorrupt) {
		// The one before was damaged while it was served: it can neither be compared with nor kept.
		e.all, err = true, nil
	}
	if err == nil {
		e.record.Index, err = e.c.store.adopt(e.folder, temp)
	}
	if err != nil {
		_ = reader.Close()
		return false, fmt.Errorf("replace an index: %w", err)
	}
	e.after, e.recordChanged = reader, true
	return e.before == nil || e.before.Revision() != reader.Revision(), nil
}

// moved returns what is listed about a version whose tag moved, now or before; nothing for other versions.
func (e *edit) moved(chart, version string) index.Entry {
	for _, f := range e.learned {
		if f.Chart == chart && f.Version == version && f.Learned != nil {
			return f.Learned.movedEntry()
		}
	}
	return e.knowledge.moved(chart, version)
}

// lostMost refuses an index that lost more than half of many charts, or nine of ten of many versions. A repository that
// keeps fewer versions than before rarely drops as many at once.
func lostMost(before, after *index.Reader) error {
	if before == nil {
		return nil
	}
	if had, has := before.Stats().Versions, after.Stats().Versions; had >= guardedVersions && 10*has <= had {
		return lost("versions", had-has, had)
	}
	charts, err := before.Charts()
	if err != nil {
		return fmt.Errorf("list charts: %w", err)
	}
	left, err := after.Charts()
	if err != nil {
		return fmt.Errorf("list charts: %w", err)
	}
	gone := 0
	for _, chart := range charts {
		if _, listed := slices.BinarySearch(left, chart); !listed {
			gone++
		}
	}
	if len(charts) < guardedCharts || 2*gone <= len(charts) {
		return nil
	}
	return lost("charts", int64(gone), int64(len(charts)))
}

func lost(what string, gone, had int64) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED,
		"upstream lost %d of %d %s since the last sync, which is taken for a mistake; what was there before stays served. "+
			"If it is right, delete the repository here and create it again", gone, had, what)
}

// write puts the edit on disk. What is learned and forgotten beside a change of the record is found again by the next sync,
// so it comes last and fails nothing: before that, it might outlive a record that was not written.
func (e *edit) write() error {
	s := e.c.store
	if !e.recordChanged {
		if len(e.learned) == 0 {
			return nil
		}
		return s.learn(e.folder, e.knowledge, e.learned)
	}
	err := s.writeJSON(e.folder, stateFile, e.record)
	if err != nil && !errors.Is(err, disk.ErrNotSynced) {
		return err
	}
	e.unsynced = err != nil
	if err == nil && len(e.learned) > 0 {
		err = s.learn(e.folder, e.knowledge, e.learned)
	}
	if err == nil && e.after != nil {
		err = s.forget(e.folder, e.knowledge, e.after)
	}
	if err != nil {
		e.c.cfg.Logger.Error().Err(err).AnErr("cause", causeOf(err)).Stringer("repository", e.r.source).
			Msg("a change of a repository is in effect, but may be lost when the machine crashes")
	}
	return nil
}

// publish shows the edit to readers.
func (e *edit) publish() error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if e.r.gone {
		// Delete removes the files as soon as it gets the disk.
		if e.after != nil {
			_ = e.after.Close()
		}
		return errGone
	}
	e.r.record = e.record
	if e.after != nil {
		e.r.served.retire()
		e.r.served = newGeneration(e.after)
	}
	news := e.settle != nil && e.settle()
	if news || e.all || len(e.charts) > 0 {
		e.c.events.publish(e.r.source, e.charts, e.all)
	}
	if e.recordChanged {
		e.c.poke()
	}
	return nil
}

// undo closes and removes a new generation; old is the one that counts on disk.
func (e *edit) undo(old string) {
	if e.after == nil {
		return
	}
	_ = e.after.Close()
	if e.record.Index != old {
		_ = e.c.store.disk.Remove(path.Join(e.folder, e.record.Index))
	}
}
