package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/cmd/internal/server"
)

// site is the HTTP API and the dashboard, in this process, and what signs in to them.
type site struct {
	http.Handler
	key, session apiclient.Secret
}

func (e *env) serve(projects []string) (*site, error) {
	cfg := config.Defaults()
	cfg.Redis.URL = apiclient.Secret(e.redis.URL())
	c := config.DefaultCredential()
	c.Name, c.Kind, c.Token = "bench", "token", config.SecretRef{Value: token}
	cfg.Credentials = []config.Credential{c}
	for i, name := range projects {
		cfg.Projects = append(cfg.Projects, config.Project{
			Alias: name, ProjectID: cloudID(i), Endpoint: "http://127.0.0.1:1", Credential: c.Name, Limits: config.DefaultLimits(),
			Approval: config.NoApproval(),
		})
	}
	store, err := app.Open(cfg, func(string) (string, bool) { return "", false }, "bench")
	if err != nil {
		return nil, err
	}
	e.closes = append(e.closes, store.Close)
	keys := access.NewKeys(store.Redis, store.Prefix, time.Now)
	key, _, err := keys.Create(e.ctx, access.Key{Name: "bench", Role: access.Operator})
	if err != nil {
		return nil, err
	}
	session, _, err := keys.SignIn(e.ctx, string(key), access.Browser{})
	if err != nil {
		return nil, err
	}
	h := dashboard.Serve(server.Config{Store: store, Keys: keys, Log: zerolog.Nop(), Now: time.Now})
	return &site{h, key, session}, nil
}

// pages are the dashboard's pages of what is filled in, each with the number of its tables
// and histories: an empty list has none.
func (s *site) pages(l *filled) map[string]func(context.Context) (int, error) {
	out := map[string]func(context.Context) (int, error){}
	for _, path := range []string{ // a whole name would lead on to the person
		"/", "/operations", "/operations?requested_by=" + rarePerson, "/operations?open=1",
		"/operations/" + l.op.ID + "?state=detached", "/operations/" + l.op.ID + "?state=failed",
		"/failures", "/failures?class=permanent", "/failures?code=" + rareCode, "/failures?user=" + rareUser, "/failures?source=hr",
		"/search?q=" + rareUser[:3], "/desktop?id=" + url.QueryEscape(l.id),
	} {
		out[strings.ReplaceAll(path, l.op.ID, "{id}")] = func(ctx context.Context) (int, error) {
			req := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
			req.AddCookie(&http.Cookie{Name: "__Host-detachd", Value: string(s.session)})
			w := httptest.NewRecorder()
			s.ServeHTTP(w, req)
			if w.Code != http.StatusOK {
				return 0, fmt.Errorf("%s answers %d", path, w.Code)
			}
			return strings.Count(w.Body.String(), "<tbody") + strings.Count(w.Body.String(), `aria-label="Operation `), nil
		}
	}
	return out
}
