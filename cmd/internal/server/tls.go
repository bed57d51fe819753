package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// checkInterval is the shortest time between two checks of the files.
const checkInterval = time.Second

// Certificate is a certificate and its key in PEM files that may be replaced, by ACME
// clients or secret mounts: a handshake reads them again after a change. While the files
// are not a valid pair, the last valid pair is used.
type Certificate struct {
	certFile, keyFile string
	log               zerolog.Logger
	now               func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	seen    [2]version
	checked time.Time
}

// version detects that a file was replaced.
type version struct {
	modified time.Time
	size     int64
}

// NewCertificate reads the files; the error says what is wrong with them.
func NewCertificate(certFile, keyFile string, log zerolog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config is for a server with the certificate: TLS 1.2 or later.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
	}
}

func (c *Certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= checkInterval {
		c.checked = now
		if seen, err := c.versions(); err != nil || seen != c.seen {
			c.reload(err)
		}
	}
	return c.pair
}

func (c *Certificate) reload(err error) {
	if err == nil {
		err = c.load()
	}
	if err != nil {
		c.log.Error().Err(err).Msg("the new certificate cannot be used; the previous one stays in use")
		return
	}
	c.log.Info().Time("not_after", c.pair.Leaf.NotAfter).Msg("the certificate was replaced")
}

// load reads the files. It takes their versions first, so that a file replaced meanwhile is
// read again.
func (c *Certificate) load() error {
	seen, err := c.versions()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("the certificate %s and the key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.seen = &pair, seen
	return nil
}

func (c *Certificate) versions() (out [2]version, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, statErr := os.Stat(name)
		if statErr != nil {
			err = errors.Join(err, statErr)
			continue
		}
		out[i] = version{info.ModTime(), info.Size()}
	}
	return out, err
}
