package fakecloud

import (
	"cmp"
	"math"
	"slices"
	"sync"
)

// faults are the active faults. Those with a desktop are indexed by its id, so that
// thousands of poisoned desktops do not slow a call down.
type faults struct {
	seed uint64

	mu        sync.Mutex
	added     int
	general   []*fault
	byDesktop map[string][]*fault
}

// fault is a Fault and its use so far.
type fault struct {
	Fault
	seq  int
	used int
}

// Fail adds faults after the existing ones. It panics on a Fault that does nothing, or
// whose fields exclude each other.
func (c *Cloud) Fail(all ...Fault) {
	fs := &c.faults
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range all {
		if f.Op == "" {
			f.Op = OpDetach
		}
		f.check()
		fs.added++
		added := &fault{Fault: f, seq: fs.added}
		if f.Desktop == "" {
			fs.general = append(fs.general, added)
		} else {
			fs.byDesktop[f.Desktop] = append(fs.byDesktop[f.Desktop], added)
		}
	}
}

// ClearFaults removes all faults. Requests that hang continue to hang.
func (c *Cloud) ClearFaults() {
	fs := &c.faults
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.general = nil
	clear(fs.byDesktop)
}

// match returns the fault that decides about a request, or a zero Fault.
func (fs *faults) match(op Op, project string, n callNumber, ids []string) Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.candidates(ids) {
		if f.Refuse == nil && f.fits(op, project, n) && f.hits(fs.seed, n, "") {
			f.used++
			return f.Fault
		}
	}
	return Fault{}
}

// refusals returns the refused desktops of a detach call.
func (fs *faults) refusals(project string, n callNumber, ids []string) map[string]Refusal {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var refused map[string]Refusal
	for _, f := range fs.candidates(ids) {
		if f.Refuse == nil || !f.fits(OpDetach, project, n) {
			continue
		}
		for _, id := range ids {
			if _, before := refused[id]; before || (f.Desktop != "" && f.Desktop != id) || !f.hits(fs.seed, n, id) {
				continue
			}
			f.used++
			if refused == nil {
				refused = map[string]Refusal{}
			}
			refused[id] = *f.Refuse
		}
	}
	return refused
}

// candidates returns the faults that may match a request with these ids, in the order in
// which they were added.
func (fs *faults) candidates(ids []string) []*fault {
	if len(fs.byDesktop) == 0 {
		return fs.general
	}
	var found []*fault
	for _, id := range ids {
		found = append(found, fs.byDesktop[id]...)
	}
	if len(found) == 0 {
		return fs.general
	}
	found = append(found, fs.general...)
	slices.SortFunc(found, func(a, b *fault) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(found) // a request may name an id twice
}

// fits reports whether the fault matches such a request. candidates has checked the
// desktop.
func (f *fault) fits(op Op, project string, n callNumber) bool {
	if f.Op != op || (f.Project != "" && f.Project != project) {
		return false
	}
	number := n.cloud
	if f.Project != "" {
		number = n.project
	}
	return len(f.Calls) == 0 || slices.Contains(f.Calls, number)
}

// hits decides by Times and Rate. The draw depends only on the seed, the number of the
// call, the fault and the id, so that it is the same in every run.
func (f *fault) hits(seed uint64, n callNumber, id string) bool {
	if f.Times > 0 && f.used >= f.Times {
		return false
	}
	if f.Rate <= 0 {
		return true
	}
	h := mix(seed) ^ mix(uint64(f.seq)<<32|uint64(n.cloud))
	for _, b := range []byte(id) {
		h = (h ^ uint64(b)) * 0x100000001b3 // FNV-1a
	}
	return float64(mix(h)) < f.Rate*math.MaxUint64
}
