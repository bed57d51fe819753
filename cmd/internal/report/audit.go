package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// auditBegins is the first line of a file of the audit log. Each line after it is an entry,
// the latest first.
const auditBegins = `{"format":"detachd audit log 1","items":[` + "\n"

// AuditWriter writes a file of the audit log, an entry per line, that VerifyAudit verifies.
type AuditWriter struct {
	w       io.Writer
	written int
}

// NewAuditWriter makes an AuditWriter. The caller must call Close, which writes the end.
func NewAuditWriter(w io.Writer) *AuditWriter { return &AuditWriter{w: w} }

// Write writes the next entry.
func (a *AuditWriter) Write(e tasks.AuditEvent) error {
	text, err := encode(e)
	if err != nil {
		return err
	}
	before := ",\n"
	if a.written++; a.written == 1 {
		before = auditBegins
	}
	_, err = io.WriteString(a.w, before+text)
	return err
}

// Close writes the end. next is the token of the next page, if there is one.
func (a *AuditWriter) Close(next string) error {
	end := "\n]}\n"
	if next != "" {
		text, err := encode(next)
		if err != nil {
			return err
		}
		end = "\n],\"next_page_token\":" + text + "}\n"
	}
	if a.written == 0 {
		end = auditBegins + strings.TrimPrefix(end, "\n")
	}
	_, err := io.WriteString(a.w, end)
	return err
}

// AuditResult describes a verified file of the audit log.
type AuditResult struct {
	First, Last int64  // numbers of the entries at its ends; 0: it has none
	Head        string // hash of the last entry
	HeadAt      int64  // number of the entry with the hash that the caller has; 0: there is none
}

// IsAudit reports whether a file is one of the audit log. It reads nothing.
func IsAudit(r *bufio.Reader) bool {
	begin, _ := r.Peek(len(auditBegins))
	return string(begin) == auditBegins
}

// VerifyAudit checks that each entry of a file of the audit log has the hash of its content
// and is chained to the entry before, without a gap. It cannot know whether there are entries
// before the first and after the last. hash is searched for; it may be empty. Any difference
// is an ErrAuditAltered.
func VerifyAudit(r *bufio.Reader, hash string) (res AuditResult, err error) {
	f := &file{r: r, sum: sha256.New()}
	wrong := func(err error) (AuditResult, error) { return AuditResult{}, errors.Join(ErrAuditAltered, err) }
	if line, err := f.next(); err != nil || string(line) != auditBegins {
		return wrong(err)
	}
	var check trail.LogCheck
	for more := true; ; {
		line, err := f.next()
		if err != nil {
			return AuditResult{}, err
		}
		if bytes.HasPrefix(line, []byte("]")) && (!more || res.Last == 0) {
			return res, f.auditEnd(line)
		}
		text, ended := bytes.CutSuffix(line, []byte("\n"))
		text, comma := bytes.CutSuffix(text, []byte(","))
		var e tasks.AuditEvent
		if !ended || !more || f.decode(text, &e) != nil {
			return wrong(errLine(f.line))
		}
		if err := check.Add(record.AuditEntry(e)); err != nil {
			return wrong(err)
		}
		if res.First = e.Seq; res.Last == 0 {
			res.Last, res.Head = e.Seq, e.Hash
		}
		if hash != "" && strings.EqualFold(hash, e.Hash) {
			res.HeadAt = e.Seq
		}
		more = comma
	}
}

// auditEnd checks the last line.
func (f *file) auditEnd(line []byte) error {
	token, has := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("}\n")), []byte(`],"next_page_token":`))
	var text string
	if string(line) != "]}\n" && (!has || f.decode(token, &text) != nil) {
		return errors.Join(ErrAuditAltered, errLine(f.line))
	}
	if rest, err := f.next(); err != nil || len(rest) > 0 {
		return errors.Join(ErrAuditAltered, errLine(f.line), err)
	}
	return nil
}
