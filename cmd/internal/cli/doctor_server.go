package cli

import (
	"context"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks/api"
)

// soon is how near a key's end somebody should know of it.
const soon = 14 * 24 * time.Hour

// examineServer looks at a server from outside: what it depends on, only a doctor
// at its side can see.
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
			fs.add("workers", warn, "start one: detachd worker", "none is running: what is queued stays queued")
		} else {
			fs.add("workers", fine, "", "%s alive", count(alive, "worker"))
		}
	}
	fs.add("the rest", fine, "", "Redis, credentials and clocks are looked at by detachd doctor on the server's side")
	return fs
}

func (p *Program) checkKey(k api.Key, fs *findings) {
	projects := "all projects"
	if len(k.Projects) > 0 {
		projects = "project " + strings.Join(k.Projects, ", ")
	}
	l, next, until := fine, "", "for good"
	if !k.ExpiresAt.IsZero() {
		until = "until " + clock(k.ExpiresAt)
		if k.ExpiresAt.Sub(p.Now()) < soon {
			l, next = warn, "have another made before that: detachd keys create"
		}
	}
	fs.add("key", l, next, "%s of %s: role %s, for %s, %s", k.ID, k.Name, k.Role, projects, until)
}

// asked notes that asking the server has failed; true if it has not.
func (fs *findings) asked(check string, err error) bool {
	if err == nil {
		return true
	}
	f := explain(err)
	fs.refused = fs.refused || f.code == exitNotAuthorised
	fs.add(check, bad, f.next, "%v", f)
	return false
}
