package cli

import (
	"context"
	"errors"
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

// client calls a server: a remote one, or one within this process that works on the
// configured Redis.
type client struct {
	*api.Client
	remote bool
	close  func()
}

// connect makes the client for --server or DETACHD_SERVER, or else one for the
// configured Redis. It sends nothing yet. by is the requester to record; empty means
// the user of this session. A server records the name of the key.
func (p *Program) connect(by string) (*client, error) {
	if to := p.serverURL(); to != "" {
		if by != "" {
			return nil, usage("remove it; detachd keys create --name creates a key for somebody else",
				"--requested-by cannot be used with a server, which records the name of the key")
		}
		return p.dial(to)
	}
	s, err := p.open()
	if err != nil {
		return nil, err
	}
	inside := server.NewInside(server.Config{Store: s, Keys: p.keys(s), Log: zerolog.Nop(), Now: p.Now, Local: true, Spans: p.spans})
	return &client{
		Client: inside.As(access.Key{Name: p.requestedBy(by), Owner: p.person(), Role: access.Admin}, thisMachine()),
		close:  s.Close,
	}, nil
}

// thisMachine is the origin of requests without a server.
func thisMachine() server.Origin {
	host, _ := os.Hostname()
	return server.Origin{Browser: access.Browser{Address: host}}
}

// serverURL is the server to use; empty for none.
func (p *Program) serverURL() string {
	if p.serverFlag != "" {
		return p.serverFlag
	}
	return p.env("DETACHD_SERVER")
}

// answerTimeout is how long a server may take to begin its answer.
const answerTimeout = time.Minute

func (p *Program) dial(to string) (*client, error) {
	key, err := p.apiKey()
	if err != nil {
		return nil, err
	}
	transport := api.NewTransport()
	transport.ResponseHeaderTimeout = answerTimeout
	c, err := api.New(api.Config{
		Server: to, Key: key, UserAgent: "detachd/" + p.Version,
		HTTP: &http.Client{Transport: traced{transport}}, // no total time limit: reports can be long
	})
	if err != nil {
		// The URL is not quoted: it may contain a password or a key.
		return nil, usage("correct --server or DETACHD_SERVER",
			"invalid server: use a URL such as https://detachd.example.com, without user, password, query or fragment")
	}
	if u, err := url.Parse(to); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		p.say("note: the API key and all data go to %s unencrypted; use https", printable(u.Host))
	}
	return &client{Client: c, remote: true, close: transport.CloseIdleConnections}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// apiKey reads the API key from the first of these that is given: --key-file,
// DETACHD_API_KEY, DETACHD_API_KEY_FILE.
func (p *Program) apiKey() (string, error) {
	key, from := p.env("DETACHD_API_KEY"), "DETACHD_API_KEY"
	file := p.keyFile
	if file == "" && key == "" {
		file = p.env("DETACHD_API_KEY_FILE")
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if pathError, ok := errors.AsType[*os.PathError](err); ok && strings.HasPrefix(file, "dk_") {
			err = pathError.Err // it is the key instead of its file
		}
		if err != nil {
			return "", usage("give a file that contains the key and nothing else", "cannot read the API key: %w", err)
		}
		key, from = string(text), file
	}
	switch key = strings.TrimSpace(key); {
	case key == "":
		return "", usage("set DETACHD_API_KEY, or give its file with DETACHD_API_KEY_FILE or --key-file; "+
			"where Redis is configured, detachd keys create creates one", "the server needs an API key")
	case strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) || unicode.IsSpace(r) }):
		return "", usage("give the key exactly as detachd keys create printed it", "%s does not contain a valid API key", from)
	}
	return key, nil
}

// localOnly refuses --server for a command that needs Redis itself. DETACHD_SERVER
// may be set: it is meant for other commands.
func (p *Program) localOnly(command string) error {
	if p.serverFlag != "" || p.keyFile != "" {
		return usage("remove --server and --key-file", "detachd %s runs on this machine and uses no server", command)
	}
	return nil
}

// projects lists the aliases of the projects that requests may name.
func (c *client) projects(ctx context.Context) ([]string, error) {
	list, err := c.Projects(ctx)
	aliases := make([]string, len(list))
	for i, x := range list {
		aliases[i] = x.Alias
	}
	return aliases, err
}

// configured refuses unknown projects before anything is done.
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
