package app

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/harmless"
)

// NewLogger returns the logger of a process, which writes to w; see config.Log. terminal says
// that w is one, colour that its console format may use colours. Text in the log, which may be
// the cloud's, cannot act on a terminal.
func NewLogger(cfg config.Log, w io.Writer, terminal, colour bool) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("log level: %w", err)
	}
	w = printable{w}
	if cfg.Format == "console" || cfg.Format != "json" && terminal {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !colour, TimeFormat: time.TimeOnly, FormatPrepare: prepare}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

// prepare escapes the message, the only text that the console format prints as it is.
func prepare(event map[string]any) error {
	if text, ok := event[zerolog.MessageFieldName].(string); ok {
		event[zerolog.MessageFieldName] = harmless.Text(text)
	}
	return nil
}

// printable escapes what the encoders of zerolog leave: unprintable characters beyond ASCII.
// An escape character can only begin a colour.
type printable struct{ io.Writer }

func (p printable) Write(line []byte) (int, error) {
	parts := bytes.Split(line, []byte("\x1b"))
	for i, part := range parts {
		parts[i] = harmless.JSON(part)
	}
	if _, err := p.Writer.Write(bytes.Join(parts, []byte("\x1b"))); err != nil {
		return 0, err
	}
	return len(line), nil
}
