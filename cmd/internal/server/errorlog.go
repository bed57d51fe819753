package server

import (
	"bytes"
	"log"

	"github.com/rs/zerolog"
)

// ErrorLog is for what net/http reports by itself, such as failed handshakes and panics of
// handlers: each becomes a line of the log.
func ErrorLog(to zerolog.Logger) *log.Logger { return log.New(errorLog{to}, "", 0) }

type errorLog struct{ to zerolog.Logger }

func (l errorLog) Write(text []byte) (int, error) {
	line, said := l.to.Warn(), bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(said, []byte("http: panic serving ")), bytes.HasPrefix(said, []byte("http2: panic serving ")):
		line = l.to.Error()
	case bytes.HasPrefix(said, []byte("http: TLS handshake error ")):
		line = l.to.Info() // by anybody who connects, such as a scanner of ports
	}
	line.Bytes("error", said).Msg("net/http reports an error")
	return len(text), nil
}
