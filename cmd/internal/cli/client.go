package cli

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks/api"
)

// client is what commands work with: a server's, or that of a server within this
// process, on the configured Redis.
type client struct {
	*api.Client
	remote bool
	close  func()
}

// connect makes the client that --server or DETACHD_SERVER ask for, or else one for
// the configured Redis. It sends nothing yet. by is who is said to ask, empty for
// the user of this session; over a server it is the key that says so.
func (p *Program) connect(by string) (*client, error) {
	if to := p.serverURL(); to != "" {
		if by != "" {
			return nil, usage("leave it out; detachd keys create --name makes a key for somebody else",
				"--requested-by does not go with a server: there the name of the key is who asks")
		}
		return p.dial(to)
	}
	s, err := p.open()
	if err != nil {
		return nil, err
	}
	inside := server.NewInside(server.Config{Store: s, Keys: p.keys(s), Log: zerolog.Nop(), Now: p.Now, Local: true})
	return &client{
		Client: inside.As(access.Key{Name: p.requestedBy(by), Role: access.Admin}),
		close:  s.Close,
	}, nil
}

// serverURL is the server that was named; empty if none was.
func (p *Program) serverURL() string {
	if p.serverFlag != "" {
		return p.serverFlag
	}
	return p.env("DETACHD_SERVER")
}

// answerPatience is how long a server has to begin its answer.
const answerPatience = time.Minute

func (p *Program) dial(to string) (*client, error) {
	key, err := p.apiKey()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerPatience
	c, err := api.New(api.Config{
		Server: to, Key: key, UserAgent: "detachd/" + p.Version,
		HTTP: &http.Client{Transport: transport}, // no limit of all: a report takes as long as it is long
	})
	if err != nil {
		return nil, usage("mend --server or DETACHD_SERVER", "the server %s is no URL such as https://detachd.example.com", shown(to))
	}
	if u, err := url.Parse(to); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		p.say("note: the key and all else goes to %s unencrypted: https is safer", printable(u.Host))
	}
	return &client{Client: c, remote: true, close: transport.CloseIdleConnections}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// apiKey finds the key for a server: in the file of --key-file, in DETACHD_API_KEY
// or in the file that DETACHD_API_KEY_FILE names, the first that is given.
func (p *Program) apiKey() (string, error) {
	key, from := p.env("DETACHD_API_KEY"), "DETACHD_API_KEY"
	file := p.keyFile
	if file == "" && key == "" {
		file = p.env("DETACHD_API_KEY_FILE")
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", usage("name a file that has the key in it, and nothing else", "the API key: %w", err)
		}
		key, from = string(text), file
	}
	switch key = strings.TrimSpace(key); {
	case key == "":
		return "", usage("set DETACHD_API_KEY, or name its file with DETACHD_API_KEY_FILE or --key-file; detachd keys create, where Redis is configured, makes one",
			"a server was named, and no key for it")
	case strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) || unicode.IsSpace(r) }):
		return "", usage("give the key as detachd keys create has shown it, and nothing else", "what is in %s is no API key", from)
	}
	return key, nil
}

// localOnly refuses --server for a command that needs Redis itself. That
// DETACHD_SERVER is set is no reason: it is there for other commands.
func (p *Program) localOnly(command string) error {
	if p.serverFlag != "" || p.keyFile != "" {
		return usage("leave --server and --key-file out", "detachd %s does its work here, and asks no server", command)
	}
	return nil
}

// projects lists the aliases of the projects that may be named.
func (c *client) projects(ctx context.Context) ([]string, error) {
	list, err := c.Projects(ctx)
	aliases := make([]string, len(list))
	for i, x := range list {
		aliases[i] = x.Alias
	}
	return aliases, err
}

// configured refuses aliases of projects that are not there, before anything is
// done.
func (c *client) configured(ctx context.Context, aliases ...string) error {
	if len(aliases) == 0 {
		return nil
	}
	there, err := c.projects(ctx)
	if err != nil {
		return err
	}
	for _, alias := range aliases {
		if !slices.Contains(there, alias) {
			return usage("use one of "+strings.Join(there, ", "), "project %s is not configured", shown(alias))
		}
	}
	return nil
}
