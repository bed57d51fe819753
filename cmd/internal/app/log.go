package app

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/config"
)

// NewLogger returns the logger of a process, which writes to w; see config.Log. terminal says
// that w is one, colour that its console format may use colours.
func NewLogger(cfg config.Log, w io.Writer, terminal, colour bool) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("log level: %w", err)
	}
	if cfg.Format == "console" || cfg.Format != "json" && terminal {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !colour, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}
