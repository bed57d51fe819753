package cli

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/cmd/internal/server"
)

// listenOptions are the flags for the listener of a server: its address, TLS, and the
// proxies in front of it.
type listenOptions struct {
	listen, certFile, keyFile string
	proxies                   []string
	header                    string
}

func (o *listenOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	f.StringVar(&o.certFile, "tls-cert", "", "serve TLS with the certificate in this PEM `file`, which is reread when it changes")
	f.StringVar(&o.keyFile, "tls-key", "", "PEM `file` with the key of the certificate")
	f.StringArrayVar(&o.proxies, "trusted-proxy", nil,
		"`address` or range, such as 10.0.0.0/8, of a proxy that reports the client's address; may be repeated (default: none)")
	f.StringVar(&o.header, "trusted-header", "X-Forwarded-For", "`header` in which trusted proxies report it")
}

// open listens. The server's handler must go through wrap.
func (o listenOptions) open(log zerolog.Logger) (l net.Listener, wrap func(http.Handler) http.Handler, err error) {
	var trusted []netip.Prefix
	for _, text := range o.proxies {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, nil, usage("use an address such as 10.0.0.1 or a range such as 10.0.0.0/8", "invalid --trusted-proxy %s", shown(text))
		}
		trusted = append(trusted, prefix)
	}
	if (o.certFile == "") != (o.keyFile == "") {
		return nil, nil, usage("give both or none", "--tls-cert and --tls-key belong together")
	}
	var cert *server.Certificate
	if o.certFile != "" {
		if cert, err = server.NewCertificate(o.certFile, o.keyFile, log); err != nil {
			return nil, nil, usage("give a certificate and its key as readable PEM files", "cannot use --tls-cert and --tls-key: %w", err)
		}
	}
	if l, err = net.Listen("tcp", o.listen); err != nil {
		return nil, nil, fail(exitInternal, "choose another --listen address", "%w", err)
	}
	if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil && cert == nil && len(trusted) == 0 && !isLoopback(host) {
		log.Warn().Msg("API keys and all data go over the network unencrypted: " +
			"use --tls-cert and --tls-key, or a proxy with TLS and --trusted-proxy")
	}
	if cert != nil {
		l = tls.NewListener(l, cert.Config())
	}
	return l, func(h http.Handler) http.Handler { return server.BehindProxy(h, trusted, o.header) }, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}
