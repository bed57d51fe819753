package sources

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

const (
	// maxFiles is the largest number of files that a pattern may match.
	maxFiles = 1000
	// maxAllBytes is the largest size of all files that a pattern matches.
	maxAllBytes = 4 * leavers.MaxFileBytes
)

// files reads the lists that a schedule names. Each file stands for itself: one that cannot be
// taken does not keep leavers of the others their desktops.
func (r *Reader) files(ctx context.Context, s tasks.Schedule) (Found, error) {
	found := Found{}
	err := r.contents(ctx, s, s.Source.File, func(c content) {
		l := List{File: c.name, Err: c.err}
		if c.err == nil {
			sum := sha256.Sum256(c.bytes)
			l.SHA256 = hex.EncodeToString(sum[:])
			list, err := parsed(s, c.bytes, false)
			if l.Err = err; err == nil {
				found.Rows += len(list.Good)
				l.Requests = listed(s, list)
			}
		}
		found.Lists = append(found.Lists, l)
	})
	if err != nil {
		return Found{}, err
	}
	if len(found.Lists) == 0 {
		found.Note = "no file matches the pattern"
	}
	return found, nil
}

// listed makes requests of a list of leavers.
func listed(s tasks.Schedule, list *leavers.List) []tasks.Request {
	for _, l := range list.Requests(api.OperationRequest{}) { // of one project: there is one
		return split(base(s), l.Desktops, l.Users, l.Computers, l.ExpectedUsers)
	}
	return nil
}

// parsed reads a list of leavers, or of those who stay. One bad row refuses it.
func parsed(s tasks.Schedule, content []byte, stay bool) (*leavers.List, error) {
	list := leavers.New(s.Project, func(alias string) bool { return alias == s.Project })
	list.Long, list.AnyStatus = true, stay
	if err := list.Read(bytes.NewReader(content)); err != nil {
		if s.Configured {
			return nil, fmt.Errorf("nothing of it was taken: %w", err)
		}
		return nil, errors.New("it cannot be read as a list, and nothing of it was taken: " + lookAtIt)
	}
	if list.BadRows == 0 {
		return list, nil
	}
	const shown = 10
	var rows []string
	for _, bad := range list.Bad[:min(shown, len(list.Bad))] {
		row := fmt.Sprintf("line %d", bad.Line)
		if s.Configured {
			row = bad.String()
		}
		rows = append(rows, row)
	}
	if more := list.BadRows - len(rows); more > 0 {
		rows = append(rows, fmt.Sprintf("and %d more", more))
	}
	text, hint := "; ", ""
	if !s.Configured {
		text, hint = ", ", ": "+lookAtIt
	}
	return nil, fmt.Errorf("%d of its rows cannot be used, and nothing of it was taken: %s%s", list.BadRows, strings.Join(rows, text), hint)
}

// lookAtIt is the next step where the text of a file is not shown: who may add a schedule may
// not be who may read the file.
const lookAtIt = "detachd detach --file FILE --plan shows why, on a machine that has the file"

// content is what a file had when it had stopped changing.
type content struct {
	name  string // without its directory
	bytes []byte
	err   error
}

// place is a directory with the files that a schedule names.
type place struct {
	open    func(name string) (*os.File, error)
	dir     string
	pattern string // of the last part of the name
	exact   bool   // the pattern is a name
	hidden  bool   // only files of the lists' directory, and errors tell nothing of others
}

// errUnreadable is what is said of whatever cannot be read in the directory of lists. It is the
// same for what is absent, forbidden, elsewhere, or no file.
var errUnreadable = errors.New("no regular file of this name below worker.lists can be read")

// of turns an error about a file into one that may be shown.
func (p place) of(err error) error {
	if p.hidden {
		return errUnreadable
	}
	return err
}

// contents reads the files that a name or pattern means, one after the other, once each has not
// changed for Config.Settle: neither its size, its time nor itself. An error is of all.
func (r *Reader) contents(ctx context.Context, s tasks.Schedule, name string, use func(content)) error {
	p, closeRoot, err := r.place(s, name)
	if err != nil {
		return err
	}
	defer closeRoot()
	names, err := p.names()
	if err != nil {
		return err
	}
	looks, all := make([]look, len(names)), int64(0)
	for i, name := range names {
		looks[i].info, looks[i].err = p.stat(name)
		if looks[i].err == nil {
			all += looks[i].info.Size()
		}
	}
	if len(names) > 1 && all > maxAllBytes {
		return fmt.Errorf("the files are larger than %d MiB together: move those away that were taken", maxAllBytes>>20)
	}
	if len(names) > 0 {
		if err := r.wait(ctx, r.cfg.Settle); err != nil {
			return fmt.Errorf("%w: %w", ErrNotReady, err)
		}
	}
	for i, name := range names {
		c := content{name: name, err: looks[i].err}
		if c.err == nil {
			c.bytes, c.err = p.read(name, looks[i].info)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		use(c)
	}
	return nil
}

// look is the first look at a file.
type look struct {
	info os.FileInfo
	err  error
}

// place finds the directory of a name. A schedule of the configuration may name any.
func (r *Reader) place(s tasks.Schedule, name string) (p place, closeRoot func(), err error) {
	closeRoot = func() {}
	name = filepath.Clean(name)
	p.dir, p.pattern = filepath.Dir(name), filepath.Base(name)
	if strings.ContainsAny(p.dir, `*?[`) {
		return p, closeRoot, fmt.Errorf("invalid file %q: only the last part of the name may be a pattern", name)
	}
	if _, err := filepath.Match(p.pattern, ""); err != nil {
		return p, closeRoot, fmt.Errorf("invalid file %q: write * for any characters, ? for one, [a-z] for one of these", name)
	}
	p.exact = !strings.ContainsAny(p.pattern, `*?[\`)
	if s.Configured {
		if !filepath.IsAbs(p.dir) {
			p.dir = filepath.Join(r.cfg.Lists, p.dir)
		}
		p.open = func(name string) (*os.File, error) { return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) }
		return p, closeRoot, nil
	}
	p.hidden = true
	switch {
	case r.cfg.Lists == "":
		return p, closeRoot, errors.New("only a schedule of the configuration may name a file: set worker.lists to the directory of the lists")
	case !filepath.IsLocal(name):
		return p, closeRoot, fmt.Errorf("invalid file %q: write a name relative to worker.lists, without ..", name)
	}
	root, err := os.OpenRoot(r.cfg.Lists)
	if err != nil {
		return p, closeRoot, errors.New("the directory worker.lists cannot be read on this machine")
	}
	p.open = func(name string) (*os.File, error) { return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) }
	return p, func() { _ = root.Close() }, nil
}

// names lists the files that the pattern means, sorted. Hidden files are what programs write
// before they rename it.
func (p place) names() ([]string, error) {
	if p.exact {
		return []string{p.pattern}, nil
	}
	dir, err := p.open(p.dir)
	if err != nil {
		return nil, p.of(err)
	}
	defer func() { _ = dir.Close() }()
	var out []string
	for {
		entries, err := dir.ReadDir(maxFiles)
		if errors.Is(err, io.EOF) {
			slices.Sort(out)
			return out, nil
		}
		if err != nil {
			return nil, p.of(err)
		}
		for _, e := range entries {
			match, _ := filepath.Match(p.pattern, e.Name())
			temporary := strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(p.pattern, ".") || strings.HasPrefix(e.Name(), "~$")
			if match && !temporary && !e.IsDir() {
				out = append(out, e.Name())
			}
		}
		if len(out) > maxFiles {
			return nil, fmt.Errorf("the pattern matches more than %d files: move those away that were taken", maxFiles)
		}
	}
}

// opened opens a regular file. It does not wait for one that is a pipe.
func (p place) opened(name string) (*os.File, os.FileInfo, error) {
	f, err := p.open(filepath.Join(p.dir, name))
	if err != nil {
		return nil, nil, p.of(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, p.of(err)
	}
	return f, info, nil
}

func (p place) stat(name string) (os.FileInfo, error) {
	f, info, err := p.opened(name)
	if err == nil {
		_ = f.Close()
	}
	return info, err
}

var errChanges = fmt.Errorf("it is still changing: %w", ErrNotReady)

// read reads a file that was as before some time ago. It must be so at the beginning and at the
// end.
func (p place) read(name string, before os.FileInfo) ([]byte, error) {
	f, info, err := p.opened(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info.Size() > leavers.MaxFileBytes {
		return nil, fmt.Errorf("it is larger than %d MiB: split it", leavers.MaxFileBytes>>20)
	}
	text, err := io.ReadAll(io.LimitReader(f, leavers.MaxFileBytes+1))
	if err != nil {
		return nil, p.of(err)
	}
	after, err := p.stat(name)
	if err != nil || !same(before, info) || !same(before, after) || int64(len(text)) != after.Size() {
		return nil, errChanges
	}
	return text, nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
