package config

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks/redistest"
)

// recorder is a relay to a server that keeps what clients say to it.
type recorder struct {
	listen net.Listener
	mu     sync.Mutex
	sent   bytes.Buffer
}

func recordWrites(t *testing.T, target func() string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &recorder{listen: l}
	var conns sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target())
			if err != nil {
				_ = client.Close()
				continue
			}
			ends := func() { _ = client.Close(); _ = server.Close() }
			conns.Go(func() { defer ends(); _, _ = io.Copy(server, io.TeeReader(client, r)) })
			conns.Go(func() { defer ends(); _, _ = io.Copy(client, server) })
			t.Cleanup(ends)
		}
	})
	return r
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Write(b)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.String()
}

func (r *recorder) addr() string { return r.listen.Addr().String() }

func (r *recorder) port() string {
	_, port, _ := net.SplitHostPort(r.addr())
	return port
}

// sentinel runs a Sentinel that watches the server at addr, and says where it is.
func sentinel(t *testing.T, addr string, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(at)
	host, watched, _ := net.SplitHostPort(addr)
	lines = append([]string{
		"bind 127.0.0.1", "port " + port, "dir " + dir, "logfile " + filepath.Join(dir, "log"),
		fmt.Sprintf("sentinel monitor record %s %s 1", host, watched),
	}, lines...)
	conf := filepath.Join(dir, "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	cmd := exec.Command("redis-server", conf, "--sentinel")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", at)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	return at
}

func open(t *testing.T, r Redis, vars ...string) redis.UniversalClient {
	t.Helper()
	var problems []string
	r.validate(func(key, format string, args ...any) { problems = append(problems, key+fmt.Sprintf(format, args...)) })
	require.Empty(t, problems)
	c, err := r.Open(env(vars...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// settings are Redis settings with a URL.
func settings(url string) Redis {
	r := Defaults().Redis
	r.URL = apiclient.Secret(url)
	return r
}

// Sentinels and servers have a user and password each, and neither side gets to know
// those of the other, wherever the password of the servers is given.
func TestSentinelsHaveTheirOwnUserAndPassword(t *testing.T) {
	t.Parallel()
	const ofServers, ofSentinels = "password-of-servers", "password-of-sentinels"
	server := redistest.Start(t)
	admin := server.Client(t)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">"+ofServers, "~*", "&*", "+@all").Err())
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "on", "resetpass", ">another").Err())
	toServer := recordWrites(t, server.Addr)
	at := sentinel(t, toServer.addr(), "sentinel auth-user record default", "sentinel auth-pass record another",
		"user watcher on >"+ofSentinels+rightsOfExample(t), "user admin on >admin &* +@all", "user default off")
	toSentinel := recordWrites(t, func() string { return at })

	for how, r := range map[string]Redis{
		"a secret": func() Redis {
			r := settings("redis+sentinel://" + toSentinel.addr() + "/record")
			r.Username, r.Password = "app", SecretRef{Env: "SERVERS"}
			return r
		}(),
		"in the URL": settings("redis+sentinel://app:" + ofServers + "@" + toSentinel.addr() + "/record"),
	} {
		r.SentinelUsername, r.SentinelPassword = "watcher", SecretRef{Env: "SENTINELS"}
		c := open(t, r, "SERVERS", ofServers, "SENTINELS", ofSentinels)
		require.NoError(t, c.Set(t.Context(), "k", "v", 0).Err(), how)
	}
	require.Contains(t, toServer.text(), ofServers)
	require.NotContains(t, toServer.text(), ofSentinels)
	require.Contains(t, toSentinel.text(), ofSentinels)
	require.NotContains(t, toSentinel.text(), ofServers)

	// It listens beside what it is asked to do.
	require.Eventually(t, func() bool { return strings.Contains(toSentinel.text(), "+switch-master") }, time.Minute, time.Millisecond)
	watcher := redis.NewClient(&redis.Options{Addr: at, Username: "admin", Password: "admin", DisableIdentity: true})
	t.Cleanup(func() { _ = watcher.Close() })
	refused, err := watcher.Do(t.Context(), "ACL", "LOG").Slice()
	require.NoError(t, err)
	require.Empty(t, refused, "the rights in config.example.yaml suffice")

	r := settings("redis+sentinel://app:" + ofServers + "@" + toSentinel.addr() + "/record")
	require.Error(t, open(t, r).Ping(t.Context()).Err(), "the servers' password is not tried on Sentinels")
	require.NotContains(t, toSentinel.text(), ofServers)
}

// rightsOfExample are those that config.example.yaml tells people to give the user of
// Sentinels.
func rightsOfExample(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/config.example.yaml")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "# user detachd on >PASSWORD")
	require.True(t, ok)
	rights, _, _ := strings.Cut(rest, "\n")
	return rights
}

func TestSentinelUserIsForSentinels(t *testing.T) {
	t.Parallel()
	_, err := Load(write(t, "redis: {sentinel_username: u, sentinel_password: {env: X}}\n"), env())
	require.ErrorContains(t, err, "redis.sentinel_username: is set, but redis.url has no Sentinels")
	require.ErrorContains(t, err, "redis.sentinel_password: is set, but redis.url has no Sentinels")
	_, err = Load(write(t, "redis: {url: 'redis+sentinel://h/m', sentinel_username: u}\n"), env())
	require.ErrorContains(t, err, "without redis.sentinel_password")
	path := write(t, "redis: {url: 'redis+sentinel://h/m', sentinel_password: {env: X}}\n")
	cfg, err := Load(path, env("DETACHD_REDIS_SENTINEL_PASSWORD", "hunter2"))
	require.NoError(t, err)
	require.Equal(t, "hunter2", cfg.Redis.SentinelPassword.Value.Reveal())
	require.NotContains(t, fmt.Sprintf("%+v", cfg), "hunter2")
	cfg, err = Load(path, env("DETACHD_REDIS_URL", "redis+sentinel://u:p@elsewhere/m"))
	require.NoError(t, err)
	require.Zero(t, cfg.Redis.SentinelPassword, "those of the file are another server's")
	_, err = cfg.Redis.Open(env())
	require.NoError(t, err)
	cfg, err = Load(path, env())
	require.NoError(t, err)
	_, err = cfg.Redis.Open(env())
	require.ErrorContains(t, err, "redis.sentinel_password: the environment variable X is not set")
}

// authority makes certificates in a directory of their own.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca")
	return a
}

// path is that of a file of a certificate, or of its key.
func (a *authority) path(name, kind string) string { return filepath.Join(a.dir, name+"."+kind) }

// issue makes a certificate for servers and clients, valid for the given hosts, signed
// by the authority's own, which is the first that is made.
func (a *authority) issue(t *testing.T, name string, hosts ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	if a.cert == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	for kind, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(t, os.WriteFile(a.path(name, kind), pem.EncodeToMemory(block), 0o600))
	}
}

// server gives the arguments of a redis-server that speaks TLS on a further port, with
// clients that show a certificate.
func (a *authority) server(port string) []string {
	return []string{
		"--tls-port", port, "--tls-ca-cert-file", a.path("ca", "crt"), "--tls-cert-file", a.path("server", "crt"),
		"--tls-key-file", a.path("server", "key"), "--tls-auth-clients", "yes",
	}
}

func freeAddr(t *testing.T) (addr, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return l.Addr().String(), port
}

// One server, Sentinels and a Cluster over TLS, each of which wants a certificate of
// the client, and shows one for a name that is not the address.
func TestTLSWithEveryKindOfServer(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "server", "redis.example")
	a.issue(t, "client")
	start := func(t *testing.T, more ...string) (*redistest.Server, string) {
		t.Helper()
		addr, port := freeAddr(t)
		s, err := redistest.Run(t.TempDir(), append(a.server(port), more...)...)
		require.NoError(t, err)
		t.Cleanup(s.Kill)
		return s, addr
	}
	urls := map[string]func(t *testing.T) string{
		"one server": func(t *testing.T) string {
			_, addr := start(t)
			return "rediss://" + addr
		},
		"Sentinels": func(t *testing.T) string {
			_, addr := start(t)
			_, port := freeAddr(t)
			lines := []string{"tls-replication yes"}
			args := a.server(port)
			for i := 0; i < len(args); i += 2 {
				lines = append(lines, strings.TrimPrefix(args[i], "--")+" "+args[i+1])
			}
			sentinel(t, addr, lines...)
			return "redis+sentinel://127.0.0.1:" + port + "/record?tls=true"
		},
		"a Cluster": func(t *testing.T) string {
			s, addr := start(t, "--cluster-enabled", "yes", "--tls-cluster", "yes")
			require.NoError(t, s.Client(t).ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
			require.NoError(t, s.Client(t).Do(t.Context(), "CONFIG", "SET", "cluster-announce-ip", "127.0.0.1").Err())
			require.Eventually(t, func() bool {
				info, err := s.Client(t).ClusterInfo(context.Background()).Result()
				return err == nil && strings.Contains(info, "cluster_state:ok")
			}, time.Minute, 10*time.Millisecond)
			return "redis+cluster://" + addr + "?tls=true"
		},
	}
	for kind, run := range urls {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			good := settings(run(t))
			good.TLS = TLS{CAFile: a.path("ca", "crt"), CertFile: a.path("client", "crt"), KeyFile: a.path("client", "key"), ServerName: "redis.example"}
			require.NoError(t, open(t, good).Set(t.Context(), "k", "v", 0).Err())
			for what, change := range map[string]func(*TLS){
				"no certificate of the client": func(c *TLS) { c.CertFile, c.KeyFile = "", "" },
				"an authority that is unknown": func(c *TLS) { c.CAFile = "" },
				"another name":                 func(c *TLS) { c.ServerName = "other.example" },
				"no name":                      func(c *TLS) { c.ServerName = "" },
			} {
				r := good
				change(&r.TLS)
				require.Error(t, open(t, r).Set(t.Context(), "k", "v", 0).Err(), what)
			}
		})
	}
}

// Whatever is wrong with a file of redis.tls, it is named.
func TestTLSFilesThatCannotBeUsedAreNamed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client")
	a.issue(t, "other")
	empty := a.path("empty", "pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	good := TLS{CAFile: a.path("ca", "crt"), CertFile: a.path("client", "crt"), KeyFile: a.path("client", "key")}
	for _, url := range []string{"rediss://h", "redis+sentinel://h/m?tls=true", "redis+cluster://h?tls=true"} {
		for named, change := range map[string]func(c *TLS, file string){
			"ca_file":   func(c *TLS, file string) { c.CAFile = file },
			"cert_file": func(c *TLS, file string) { c.CertFile = file },
			"key_file":  func(c *TLS, file string) { c.KeyFile = file },
		} {
			for _, file := range []string{empty, "/no/such/file.pem"} {
				r := settings(url)
				r.TLS = good
				change(&r.TLS, file)
				_, err := r.Open(env())
				require.ErrorContains(t, err, "redis.tls: ", url)
				require.ErrorContains(t, err, named, url)
				require.ErrorContains(t, err, file, url)
			}
		}
		r := settings(url)
		r.TLS = good
		r.TLS.KeyFile = a.path("other", "key")
		_, err := r.Open(env())
		require.ErrorContains(t, err, r.TLS.KeyFile, "a key of another certificate")
	}
}

// What a connection begins with, as a server sees it.
func TestCompat(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cluster := redistest.StartCluster(t)
	for _, compat := range []bool{false, true} {
		one := recordWrites(t, server.Addr)
		node := recordWrites(t, cluster.Addr)
		// Before it is used, so that the client is told to come through the relay.
		require.NoError(t, cluster.Client(t).ConfigSet(t.Context(), "cluster-announce-port", node.port()).Err())
		for kind, to := range map[string]*recorder{"redis://": one, "redis+cluster://": node} {
			r := settings(kind + to.addr())
			r.Compat = compat
			require.NoError(t, open(t, r).Set(t.Context(), "k", "v", 0).Err())
			sent := strings.ToLower(to.text())
			for _, word := range []string{"setinfo", "maint_notifications"} {
				require.Equal(t, !compat, strings.Contains(sent, word), "%s: %s", kind, word)
			}
			hello := "hello\r\n$1\r\n3"
			if compat {
				hello = "hello\r\n$1\r\n2"
			}
			require.Contains(t, sent, hello, kind)
		}
	}
}

// A context that ends bounds what waits for a server that does not answer.
func TestContextsBoundReads(t *testing.T) {
	t.Parallel()
	proxy, err := redistest.NewProxy(redistest.Start(t).Addr())
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	c := open(t, settings(proxy.URL()))
	c.(*redis.Client).Options().ReadTimeout = 0 // none: only the context is left
	require.NoError(t, c.Ping(t.Context()).Err())
	proxy.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, c.Ping(ctx).Err())
}

// What go-redis changes from one release to another stands in the configuration's
// package, and not in go-redis.
func TestSettingsAreOurs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://h", "redis+sentinel://h/m", "redis+cluster://h"} {
		o, err := ParseRedisURL(apiclient.Secret(url))
		require.NoError(t, err)
		settings(url).setOptions(o)
		for name, d := range map[string]time.Duration{
			"dial": o.DialTimeout, "read": o.ReadTimeout, "write": o.WriteTimeout, "pool": o.PoolTimeout, "idle": o.ConnMaxIdleTime,
			"backoff": o.MinRetryBackoff, "longest backoff": o.MaxRetryBackoff, "dial again": o.DialerRetryTimeout,
		} {
			require.Positive(t, d, "%s of %s", name, url)
		}
		require.True(t, o.ContextTimeoutEnabled)
		require.NotZero(t, o.MaxRetries)
		require.GreaterOrEqual(t, o.ReadTimeout, 2*longestWait, "WAIT is answered before the client gives up")
	}
}
