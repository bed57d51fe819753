package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/detachd/detachd/cmd/internal/harmless"
)

// jsonRenderer writes one object with a member or a chunk per line, in this order:
// format, made_at, final, operation, accepted, removal, chunks, rows,
// trail_head, sha256.
type jsonRenderer struct{ chunks int }

func (j *jsonRenderer) head(w io.Writer, h head) error {
	if _, err := io.WriteString(w, "{"); err != nil {
		return err
	}
	for _, m := range []member{
		{"format", version}, {"made_at", h.Made}, {"final", h.Final}, {"operation", h.Operation},
		{"accepted", h.Accepted}, {"removal", h.Removal},
	} {
		if err := m.write(w); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\"chunks\":[\n")
	return err
}

func (j *jsonRenderer) chunk(w io.Writer, c chunk) error {
	text, err := encode(c)
	if err != nil {
		return err
	}
	if j.chunks++; j.chunks > 1 {
		text = ",\n" + text
	}
	_, err = io.WriteString(w, text)
	return err
}

func (j *jsonRenderer) foot(w io.Writer, f foot) error {
	if _, err := io.WriteString(w, "\n],\n"); err != nil {
		return err
	}
	for _, m := range []member{{"rows", f.Rows}, {"trail_head", f.Head}} {
		if err := m.write(w); err != nil {
			return err
		}
	}
	return nil
}

// member is one line of the object.
type member struct {
	name  string
	value any
}

func (m member) write(w io.Writer) error {
	text, err := encode(m.value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%q:%s,\n", m.name, text)
	return err
}

// encode returns harmless JSON with markup escaped. Decoding and encoding again gives the
// same bytes.
func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(harmless.JSON(b)), err
}
