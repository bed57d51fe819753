package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/detachd/detachd/apiclient"
)

// ParseRedisURL parses
//
//	redis://[user:password@]host[:port][/db]           one server
//	rediss://…                                         the same over TLS
//	unix:///path/to/socket[?db=N]                      a local socket
//	redis+sentinel://[…@]host[:port],…/master[/db]     Sentinels, and the master's name
//	redis+cluster://[…@]host[:port],…                  nodes of a Cluster
//
// Ports default to 6379, of Sentinels to 26379. User and password in the URL are for the
// servers, not for the Sentinels. The last two accept ?tls=true. Other options are errors,
// because ignoring one would connect in another way than requested. Errors do not quote the
// URL, which may contain a password.
func ParseRedisURL(raw apiclient.Secret) (*redis.UniversalOptions, error) {
	text := raw.Reveal()
	scheme, _, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("is not a URL such as redis://host:6379/0")
	}
	switch scheme {
	case "redis", "rediss", "unix":
		o, err := redis.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("the %s:// URL cannot be parsed: is it scheme://user:password@host:port/db, with a URL-encoded password?", scheme)
		}
		if u, err := url.Parse(text); err != nil || !onlyOption(u.Query(), map[string]string{"unix": "db"}[scheme]) {
			return nil, fmt.Errorf("the %s:// URL has an unknown option; use rediss:// and redis.tls for TLS", scheme)
		}
		return &redis.UniversalOptions{Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig}, nil
	case "redis+sentinel", "redis+cluster":
		return parseNodes(scheme, text)
	}
	return nil, fmt.Errorf("scheme %q is unknown: redis, rediss, unix, redis+sentinel or redis+cluster", scheme)
}

// splitNodes separates the hosts from a URL, because net/url does not accept a list of
// hosts with ports.
func splitNodes(scheme, text string) (u *url.URL, hosts string, err error) {
	rest := strings.TrimPrefix(text, scheme+"://")
	authority, tail, _ := strings.Cut(rest, "/")
	if !strings.Contains(rest, "/") {
		authority, tail, _ = strings.Cut(rest, "?")
		tail = "?" + tail
	}
	user, hosts := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, hosts = authority[:at+1], authority[at+1:]
	}
	if u, err = url.Parse(scheme + "://" + user + "nodes/" + tail); err != nil {
		return nil, "", fmt.Errorf("the %s:// URL cannot be parsed: is the password URL-encoded?", scheme)
	}
	return u, hosts, nil
}

func parseNodes(scheme, text string) (*redis.UniversalOptions, error) {
	u, hosts, err := splitNodes(scheme, text)
	if err != nil {
		return nil, err
	}
	o := &redis.UniversalOptions{Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	port := "6379"
	if scheme == "redis+sentinel" {
		port = "26379"
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := address(host, port)
		if err != nil {
			return nil, err
		}
		o.Addrs = append(o.Addrs, addr)
	}
	switch u.Query().Get("tls") {
	case "true":
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	case "false", "":
	default:
		return nil, errors.New("tls must be true or false")
	}
	if !onlyOption(u.Query(), "tls") {
		return nil, errors.New("has an unknown option: only ?tls=true is possible")
	}
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if scheme == "redis+cluster" {
		if path[0] != "" {
			return nil, errors.New("a Cluster has no databases: remove the path")
		}
		o.IsClusterMode = true
		return o, nil
	}
	if path[0] == "" || len(path) > 2 {
		return nil, errors.New("the master's name is missing: redis+sentinel://host:26379/master")
	}
	o.MasterName = path[0]
	if len(path) == 2 {
		if o.DB, err = strconv.Atoi(path[1]); err != nil || o.DB < 0 {
			return nil, errors.New("the database is not a number")
		}
	}
	return o, nil
}

// address adds port to a host without one.
func address(host, port string) (string, error) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); h == "" || err != nil || n == 0 {
			return "", errors.New("a host or its port is invalid: use host:6379, for example")
		}
		return host, nil
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	if bare == "" || strings.ContainsAny(bare, "[]@/") || bare == host && strings.Contains(host, ":") {
		return "", errors.New("a host is missing or invalid: use host, host:6379 or [::1]:6379, for example")
	}
	return net.JoinHostPort(bare, port), nil
}

// onlyOption reports whether a query has no option other than name, and that at most once.
func onlyOption(query url.Values, name string) bool {
	return len(query) == 0 || name != "" && len(query) == 1 && len(query[name]) == 1
}

// Open returns a client, which connects on first use. lookup, usually os.LookupEnv, resolves
// passwords. An error names the key.
func (r Redis) Open(lookup func(string) (string, bool)) (redis.UniversalClient, error) {
	o, err := ParseRedisURL(r.URL)
	if err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	if err := r.authenticate(o, lookup); err != nil {
		return nil, err
	}
	if o.TLSConfig != nil {
		if err := r.TLS.apply(o.TLSConfig); err != nil {
			return nil, fmt.Errorf("redis.tls: %w", err)
		}
	}
	r.setOptions(o)
	c := newClient(o)
	addRedial(c)
	return c, nil
}

// authenticate sets the users and passwords for the servers and, separately, for the
// Sentinels.
func (r Redis) authenticate(o *redis.UniversalOptions, lookup func(string) (string, bool)) error {
	password, err := r.Password.Resolve(lookup)
	if err != nil {
		return fmt.Errorf("redis.password: %w", err)
	}
	if password != "" {
		o.Password = password.Reveal()
	}
	if r.Username != "" {
		o.Username = r.Username
	}
	password, err = r.SentinelPassword.Resolve(lookup)
	if err != nil {
		return fmt.Errorf("redis.sentinel_password: %w", err)
	}
	o.SentinelUsername, o.SentinelPassword = r.SentinelUsername, password.Reveal()
	return nil
}

// redisTimeout bounds dialling, and each write and read of a connection, in addition to the
// context.
const redisTimeout = 5 * time.Second

// setOptions sets explicitly what go-redis has changed between releases, to the values of
// 9.23, so that an update changes nothing here. RESP2 cannot be set for Sentinels; go-redis
// uses it with one that refuses HELLO (sentinelOptions and initConn).
func (r Redis) setOptions(o *redis.UniversalOptions) {
	o.PoolSize = 64     // all handlers and calls of a worker at once
	o.DialerRetries = 2 // callers retry anyway, and a person waits for the error
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = redisTimeout, redisTimeout, redisTimeout, redisTimeout+time.Second
	o.DialerRetryTimeout = 100 * time.Millisecond
	o.MinRetryBackoff, o.MaxRetryBackoff = 10*time.Millisecond, time.Second
	o.MaxRetries, o.MaxRedirects = 3, 3
	if o.IsClusterMode {
		o.MaxRetries = -1 // the Cluster client retries itself, on the node that has the slot then
	}
	o.PipelinePoolSize, o.ConnMaxIdleTime = redis.DefaultPipelinePoolSize, 30*time.Minute
	o.ContextTimeoutEnabled = true
	o.Protocol = 3
	if r.Compat {
		o.Protocol, o.DisableIdentity = 2, true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
}

func (t TLS) apply(c *tls.Config) error {
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca_file %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return fmt.Errorf("cert_file %s with key_file %s: %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return nil
}
