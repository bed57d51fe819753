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

// door is where a server is reached: the address, over TLS perhaps, behind proxies
// perhaps.
type door struct {
	listen, certFile, keyFile string
	proxies                   []string
	header                    string
}

func (d *door) flags(f *pflag.FlagSet) {
	f.StringVar(&d.listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	f.StringVar(&d.certFile, "tls-cert", "", "speak TLS with the certificate in that PEM `file`, which is read again when it changes")
	f.StringVar(&d.keyFile, "tls-key", "", "`file` with the certificate's key")
	f.StringArrayVar(&d.proxies, "trusted-proxy", nil, "`address` or range, such as 10.0.0.0/8, of a proxy that says who the client is; may be repeated (default: none is believed)")
	f.StringVar(&d.header, "trusted-header", "X-Forwarded-For", "the `header` in which trusted proxies say it")
}

// open listens. What goes in by the listener goes through what wrap makes.
func (d door) open(log zerolog.Logger) (l net.Listener, wrap func(http.Handler) http.Handler, err error) {
	var trusted []netip.Prefix
	for _, text := range d.proxies {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, nil, usage("give an address such as 10.0.0.1 or a range such as 10.0.0.0/8", "--trusted-proxy %s is none", shown(text))
		}
		trusted = append(trusted, prefix)
	}
	if (d.certFile == "") != (d.keyFile == "") {
		return nil, nil, usage("give both or none", "--tls-cert and --tls-key belong together")
	}
	var cert *server.Certificate
	if d.certFile != "" {
		if cert, err = server.NewCertificate(d.certFile, d.keyFile, log); err != nil {
			return nil, nil, usage("give a certificate and its key as PEM files that can be read", "--tls-cert and --tls-key: %w", err)
		}
	}
	if l, err = net.Listen("tcp", d.listen); err != nil {
		return nil, nil, fail(exitInternal, "choose another --listen address", "%w", err)
	}
	if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil && cert == nil && len(trusted) == 0 && !isLoopback(host) {
		log.Warn().Msg("keys and all else go over the network unencrypted: give --tls-cert and --tls-key, or put it behind a proxy that speaks TLS and name that with --trusted-proxy")
	}
	if cert != nil {
		l = tls.NewListener(l, cert.Config())
	}
	return l, func(h http.Handler) http.Handler { return server.BehindProxy(h, trusted, d.header) }, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}
