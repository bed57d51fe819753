package cli

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks/api"
)

// expirySoon is how long before its expiry a key is reported.
const expirySoon = 14 * 24 * time.Hour

// examineServer checks a server from outside. What the server depends on can be
// checked only where it runs.
func (p *Program) examineServer(ctx context.Context, c *client) findings {
	fs := findings{OK: true}
	if !fs.asked("server", c.Alive(ctx)) {
		return fs
	}
	fs.add("server", fine, "", "%s answers", c.Client)
	if fs.asked("server ready", c.Ready(ctx)) {
		fs.add("server ready", fine, "", "its Redis answers")
	}
	key, err := c.WhoAmI(ctx)
	if fs.asked("key", err) {
		p.checkKey(key, &fs)
	}
	if workers, err := c.Workers(ctx); err == nil {
		alive := 0
		for _, w := range workers {
			if w.Alive() {
				alive++
			}
		}
		if alive == 0 {
			fs.add("workers", warn, "start one: detachd worker", "none is running: queued desktops stay queued")
		} else {
			fs.add("workers", fine, "", "%d running", alive)
		}
	}
	if projects, err := c.Projects(ctx); err == nil {
		for _, x := range projects {
			if x.Pause != nil {
				fs.paused(x.Alias, *x.Pause)
			}
		}
	}
	fs.add("the rest", fine, "", "run detachd doctor where the server runs to check Redis, credentials and clocks")
	return fs
}

// readyTimeout is more than a server takes to try Redis in vain.
const readyTimeout = 5 * time.Second

// examineReady asks one process without a key. The address of the process is its own, so
// --server and its key do not matter.
func (p *Program) examineReady(ctx context.Context, at string) (findings, error) {
	c, err := api.New(api.Config{Server: at, UserAgent: "detachd/" + p.Version})
	if err != nil {
		// The URL is not quoted: it may contain a password.
		return findings{}, usage("use a URL such as http://127.0.0.1:8080", "invalid --ready")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	fs := findings{OK: true}
	err = c.Ready(ctx)
	if _, unreached := errors.AsType[*url.Error](err); unreached {
		fs.add("ready", bad, "check that the server or worker runs, and listens there (--listen)", "%v", explain(err))
	} else if fs.asked("ready", err) {
		fs.add("ready", fine, "", "%s can write to its Redis", c)
	}
	return fs, nil
}

func (p *Program) checkKey(k api.Key, fs *findings) {
	projects := "all projects"
	if len(k.Projects) > 0 {
		projects = "project " + strings.Join(k.Projects, ", ")
	}
	l, next, until := fine, "", "no expiry"
	if !k.ExpiresAt.IsZero() {
		until = "until " + clock(k.ExpiresAt)
		if k.ExpiresAt.Sub(p.Now()) < expirySoon {
			l, next = warn, "create a new key in time: detachd keys create"
		}
	}
	fs.add("key", l, next, "%s of %s: role %s, for %s, %s", k.ID, k.Name, k.Role, projects, until)
}

// asked records an error of a request to the server; true if there was none.
func (fs *findings) asked(check string, err error) bool {
	if err == nil {
		return true
	}
	f := explain(err)
	fs.refused = fs.refused || f.code == exitNotAuthorised
	fs.add(check, bad, f.next, "%v", f)
	return false
}
