package record

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

// The names of the index, and the ids of operations, are also kept in order, so that they are
// found by how they begin. A project has a list for the operations accepted in each week. A
// list is a HASH of blocks of some 2 KB, each by the first text that may be in it, and a ZSET of
// these starts. A block has what is common to all texts from its start to the next one, and the
// rest of each; so a name takes about its bytes, where a member of a large sorted set takes a
// hundred more.
//
// Lists expire with the last of their operations, so nothing removes a single name. A name may
// therefore outlast its operation by two weeks.

// nameKind is the first byte of a text of a list.
type nameKind byte

const (
	userName     nameKind = 'u'
	computerName nameKind = 'c'
	operationID  nameKind = 'o'
)

// nameList is a list: a project, and the week since 1970 in which operations were accepted.
type nameList struct {
	project string
	week    int64
}

const week = 7 * 24 * time.Hour

func weekOf(t time.Time) int64 { return t.Unix() / int64(seconds(week)) }

// nameWrites are new entries of the index of names, and new texts of the lists.
type nameWrites struct {
	indexWrites
	texts map[nameList][]string
	until map[nameList]time.Time // the last deadline of the operations
}

func newNameWrites() *nameWrites {
	return &nameWrites{indexWrites{}, map[nameList][]string{}, map[nameList]time.Time{}}
}

// addNames adds names to the index and to the list of their project.
func (w *nameWrites) addNames(op Operation, chunk int, kind nameKind, names ...string) {
	for _, name := range names {
		if name != "" {
			w.add(op, chunk, foldName(name))
			w.addText(op, kind, name)
		}
	}
}

// addText adds a text in the form in which it is searched, and as it is written if that differs.
func (w *nameWrites) addText(op Operation, kind nameKind, text string) {
	text = norm.NFC.String(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) || len(text) > 4*tasks.MaxName {
		return // it would end an entry; whole it is found all the same
	}
	entry := string(kind) + foldName(text)
	if foldName(text) != text {
		entry += "\x01" + text
	}
	list := nameList{op.Project, weekOf(op.AcceptedAt)}
	w.texts[list] = append(w.texts[list], entry)
	if op.Deadline.After(w.until[list]) {
		w.until[list] = op.Deadline
	}
}

const (
	namesPerScript = 200  // which takes about a millisecond
	nameBlock      = 2048 // bytes
)

var scriptNamesAdd = script("names_add", "by_bytes")

var scriptNamesFind = script("names_find", "by_bytes")

// listCalls add the texts to the lists.
func (r *Record) listCalls(w *nameWrites) iter.Seq[*scriptCall] {
	return func(yield func(*scriptCall) bool) {
		for list, texts := range w.texts {
			// In whole weeks, so that it is rarely written again.
			until := time.Now().Add(max(0, time.Until(w.until[list])) + r.retention + 24*time.Hour).Truncate(week).Add(week)
			slices.Sort(texts)
			w.texts[list] = slices.Compact(texts)
			for some := range slices.Chunk(w.texts[list], namesPerScript) {
				args := []any{until.Unix(), nameBlock}
				for _, text := range some {
					args = append(args, text)
				}
				if !yield(&scriptCall{script: scriptNamesAdd, keys: r.keys.nameList(list), args: args}) {
					return
				}
			}
		}
	}
}

// enterNames enters names, and first logs their buckets.
func (r *Record) enterNames(ctx context.Context, w *nameWrites) error {
	return r.runBatches(ctx, r.logCalls(w.indexWrites, 0), w.calls(r.keys.named), r.listCalls(w))
}

// writeNames writes the names of desktops that failed, of several chunks. A chunk has a few, which are
// in as many buckets.
func (r *Record) writeNames(ctx context.Context, some []*nameWrites) error {
	all := newNameWrites()
	for _, w := range some {
		all.merge(w)
	}
	return r.runBatches(ctx, all.calls(r.keys.named), r.listCalls(all))
}

// merge adds the names of others.
func (w *nameWrites) merge(others *nameWrites) {
	for bucket, entries := range others.indexWrites {
		w.indexWrites[bucket] = append(w.indexWrites[bucket], entries...)
	}
	for list, texts := range others.texts {
		w.texts[list] = append(w.texts[list], texts...)
		if others.until[list].After(w.until[list]) {
			w.until[list] = others.until[list]
		}
	}
}

// Name is a name that was found by its beginning, and the projects whose operations have it.
type Name struct {
	Name     string
	Projects []string
}

// UsersNamed finds the users whose names begin with a text, in any case, in order. more means
// that there are others.
func (r *Record) UsersNamed(ctx context.Context, projects []string, prefix string, n int) (out []Name, more bool, err error) {
	return r.begins(ctx, projects, userName, prefix, n)
}

// ComputersNamed is UsersNamed for computers. It knows those of requests, and of desktops that
// failed or were held.
func (r *Record) ComputersNamed(ctx context.Context, projects []string, prefix string, n int) (out []Name, more bool, err error) {
	return r.begins(ctx, projects, computerName, prefix, n)
}

// OperationsNamed finds the operations whose ids begin with a text.
func (r *Record) OperationsNamed(ctx context.Context, projects []string, prefix string, n int) (out []Operation, more bool, err error) {
	names, more, err := r.begins(ctx, projects, operationID, prefix, n)
	if err != nil {
		return nil, false, err
	}
	ids := make([]string, len(names))
	for i, x := range names {
		ids[i] = x.Name
	}
	out, err = r.operations(ctx, ids)
	out = slices.DeleteFunc(out, func(op Operation) bool { return !slices.Contains(projects, op.Project) })
	return out, more, err
}

// begins reads the lists of projects, in two round trips.
func (r *Record) begins(ctx context.Context, projects []string, kind nameKind, prefix string, n int) ([]Name, bool, error) {
	fail := func(err error) ([]Name, bool, error) {
		return nil, false, fmt.Errorf("searching names: %w", err)
	}
	prefix = foldName(norm.NFC.String(prefix))
	if prefix == "" || len(projects) == 0 {
		return nil, false, nil
	}
	lists, err := r.nameLists(ctx, projects)
	if err != nil {
		return fail(err)
	}
	calls := make([]*scriptCall, len(projects))
	for i, project := range projects {
		calls[i] = &scriptCall{script: scriptNamesFind, args: []any{string(kind) + prefix, n + 1}}
		for _, list := range lists[project] {
			calls[i].keys = append(calls[i].keys, r.keys.nameList(list)...)
		}
	}
	asked := slices.DeleteFunc(slices.Clone(calls), func(c *scriptCall) bool { return len(c.keys) == 0 })
	if err := r.runScripts(ctx, asked, nil); err != nil {
		return fail(err)
	}
	found := map[string][]string{}
	for i, c := range calls {
		if len(c.keys) == 0 {
			continue
		}
		texts, err := c.reply.StringSlice()
		if err != nil {
			return fail(err)
		}
		for _, text := range texts {
			if !slices.Contains(found[text], projects[i]) {
				found[text] = append(found[text], projects[i])
			}
		}
	}
	var out []Name
	for _, text := range slices.Sorted(maps.Keys(found)) {
		if len(out) == n {
			return out, true, nil
		}
		name := text[1:]
		if _, written, other := strings.Cut(name, "\x01"); other {
			name = written
		}
		out = append(out, Name{name, found[text]})
	}
	return out, false, nil
}

// mostLists limits the weeks that a search looks at, the latest first.
const mostLists = 60

// nameLists returns the lists that projects may have: of every week since their oldest
// operation.
func (r *Record) nameLists(ctx context.Context, projects []string) (map[string][]nameList, error) {
	oldest := make([]*redis.ZSliceCmd, len(projects))
	latest := make([]*redis.ZSliceCmd, len(projects))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, project := range projects {
			oldest[i] = p.ZRangeWithScores(ctx, r.keys.operationsBy("project", project), 0, 0)
			latest[i] = p.ZRangeWithScores(ctx, r.keys.operationsBy("project", project), -1, -1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string][]nameList{}
	for i, project := range projects {
		if len(oldest[i].Val()) == 0 || len(latest[i].Val()) == 0 {
			continue
		}
		first := weekOf(time.UnixMilli(int64(oldest[i].Val()[0].Score)))
		last := weekOf(time.UnixMilli(int64(latest[i].Val()[0].Score)))
		for n := max(first, last-mostLists+1); n <= last; n++ {
			out[project] = append(out[project], nameList{project, n})
		}
	}
	return out, nil
}
