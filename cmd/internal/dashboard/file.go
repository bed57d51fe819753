package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// filePatience is how long a file may take, and partPatience each part of it to be
	// taken: a server's time for an answer is for pages.
	filePatience, partPatience = 10 * time.Minute, 30 * time.Second
)

// file answers with a file that write writes. An error before the first byte can be
// a page; after it the answer breaks off, so that it is not taken for whole.
func (v *visit) file(name, kind string, write func(context.Context, io.Writer) error) error {
	ctx, cancel := context.WithTimeoutCause(v.connection, filePatience, errors.New("the file took too long"))
	defer cancel()
	f := &fileWriter{w: v.w, name: name, kind: kind}
	err := write(ctx, f)
	if err != nil && f.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

// fileWriter sets the header when the first byte is written.
type fileWriter struct {
	w          http.ResponseWriter
	name, kind string
	begun      bool
}

func (f *fileWriter) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", f.kind)
		f.w.Header().Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
	}
	_ = http.NewResponseController(f.w).SetWriteDeadline(time.Now().Add(partPatience)) // not every way here has deadlines
	return f.w.Write(b)
}
