package valuesmap

import (
	"maps"
	"slices"
	"time"
)

// Existing is a ConfigMap of the repository that is there.
type Existing struct {
	// Name of the ConfigMap.
	Name string
	// Chart that it is of.
	Chart Chart
	// Digest of the chart that it was made from; empty when that is not known, as for those of the original project.
	Digest string
	// UnusedSince is since when it is neither current nor used; zero while it is, or when nobody has noticed yet.
	UnusedSince time.Time
	// Foreign says that it belongs to a HelmRepository of the same name that is gone.
	Foreign bool
	// Touched says that somebody else wrote it, so that it may not hold what it should.
	Touched bool
}

// Wanted is a chart version.
type Wanted struct {
	// Chart version.
	Chart Chart
	// Digest of its tarball; empty when it is not known.
	Digest string
}

// Facts are what a decision is made from.
type Facts struct {
	// Now is the time.
	Now time.Time
	// Retention is how long a ConfigMap is kept that is neither current nor used.
	Retention time.Duration
	// Namer names the ConfigMaps.
	Namer *Namer
	// Wanted are the chart versions that should have a ConfigMap. Of two entries for one, that with a digest counts.
	Wanted []Wanted
	// Used are chart versions whose ConfigMaps are not to be removed or aged, when there are any.
	Used []Chart
	// Existing are the ConfigMaps that look like the repository's. Those that Ours leaves out are not touched.
	Existing []Existing
	// Gone are the chart versions that the repository no longer has.
	Gone map[Chart]bool
	// Disabled says that there are to be none: all go, used or not. Nothing else but Now, Namer and Existing counts then.
	Disabled bool
	// Frozen says that what the repository holds is not known now: nothing is removed or aged.
	Frozen bool
}

// Plan is what to do. All is in the order of names.
type Plan struct {
	// Write are the ConfigMaps to make, or to write again.
	Write []Write
	// Age are the names of those that are from now on neither current nor used.
	Age []string
	// Revive are the names of those that are current or used again.
	Revive []string
	// Remove are the names of those to remove.
	Remove []string
	// Next is when the next one is to be removed; zero when none is.
	Next time.Time
}

// Write is a ConfigMap to make or to write again.
type Write struct {
	// Name of the ConfigMap.
	Name string
	// Wanted is what it is of.
	Wanted
	// Exists says that it is there.
	Exists bool
}

// Ours are the ConfigMaps of the repository. A copy that somebody made under a name of his own is his, whatever labels, annotations and
// owners he copied along.
func (f *Facts) Ours() []Existing {
	var ours []Existing
	for i := range f.Existing {
		if f.Namer.Could(f.Existing[i].Name, f.Existing[i].Chart) {
			ours = append(ours, f.Existing[i])
		}
	}
	return ours
}

// Decide says what to do.
func Decide(f *Facts) Plan {
	var p Plan
	ours := f.Ours()
	existing := make(map[string]*Existing, len(ours))
	for i := range ours {
		existing[ours[i].Name] = &ours[i]
	}
	wanted := make(map[string]Wanted, len(f.Wanted))
	for _, w := range f.Wanted {
		if name := f.Namer.Name(w.Chart); wanted[name].Digest == "" {
			wanted[name] = w
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		w, have := wanted[name], existing[name]
		if have == nil || !have.Foreign && !have.holds(w) {
			p.Write = append(p.Write, Write{Name: name, Wanted: w, Exists: have != nil})
		}
	}
	used, usedCharts := map[string]bool{}, map[Chart]bool{}
	for _, c := range f.Used {
		used[f.Namer.Name(c)], usedCharts[c] = true, true
	}
	for _, name := range slices.Sorted(maps.Keys(existing)) {
		e := existing[name]
		_, want := wanted[name]
		// One that is used keeps the name that it once got, until there is one of the name that it would get now.
		now := existing[f.Namer.Name(e.Chart)]
		keep := want || used[name] || usedCharts[e.Chart] && (now == nil || now.Foreign)
		p.age(f, e, keep, f.Gone[e.Chart] && !usedCharts[e.Chart])
	}
	return p
}

// age decides about one that is there. keep says that it is current or used, gone that the repository no longer has what it is of and
// nobody uses that.
func (p *Plan) age(f *Facts, e *Existing, keep, gone bool) {
	end := e.UnusedSince.Add(f.Retention)
	switch {
	case e.Foreign, f.Disabled:
		p.Remove = append(p.Remove, e.Name)
	case keep && !e.UnusedSince.IsZero():
		p.Revive = append(p.Revive, e.Name)
	case keep || f.Frozen:
	case gone:
		p.Remove = append(p.Remove, e.Name)
	case e.UnusedSince.IsZero():
		p.Age = append(p.Age, e.Name)
		p.until(f.Now.Add(f.Retention))
	case !end.After(f.Now):
		p.Remove = append(p.Remove, e.Name)
	default:
		p.until(end)
	}
}

func (p *Plan) until(t time.Time) {
	if p.Next.IsZero() || t.Before(p.Next) {
		p.Next = t
	}
}

// holds reports whether a ConfigMap is what is wanted. A digest that is not known says nothing against it.
func (e *Existing) holds(w Wanted) bool {
	return !e.Touched && e.Digest != "" && (w.Digest == "" || e.Digest == w.Digest) && e.Chart == w.Chart
}
