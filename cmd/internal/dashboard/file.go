package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// fileTimeout limits a download and partTimeout the sending of each part. The
	// server's write timeout is meant for pages.
	fileTimeout, partTimeout = 10 * time.Minute, 30 * time.Second
)

// file answers with what write writes. An error before the first byte becomes an error
// page. After it the connection is aborted, so that a partial file does not look complete.
func (v *visit) file(name, kind string, write func(context.Context, io.Writer) error) error {
	f := &fileWriter{w: v.w, name: name, kind: kind}
	if v.Method == http.MethodHead { // nothing leaves: no entry in the audit log
		f.header()
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(v.connection, fileTimeout, errors.New("the file took too long"))
	defer cancel()
	err := write(ctx, f)
	if err != nil && f.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

// fileWriter sets the headers at the first byte.
type fileWriter struct {
	w          http.ResponseWriter
	name, kind string
	begun      bool
}

func (f *fileWriter) header() {
	f.begun = true
	f.w.Header().Set("Content-Type", f.kind)
	f.w.Header().Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
}

func (f *fileWriter) Write(b []byte) (int, error) {
	if !f.begun {
		f.header()
	}
	_ = http.NewResponseController(f.w).SetWriteDeadline(time.Now().Add(partTimeout)) // some connections have no deadlines
	return f.w.Write(b)
}
